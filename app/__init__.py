"""Sluice: deposits in, wallets credited exactly once, browsers notified live."""
