"""Wallets and their entries."""
