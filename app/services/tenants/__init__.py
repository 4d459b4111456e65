"""Tenants, their keys, providers and policies, as operators change them."""
