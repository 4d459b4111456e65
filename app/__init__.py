"""Sluice: deposits in, wallets credited exactly once, browsers told live."""
