"""Debits: what a tenant takes out of its users' wallets."""
