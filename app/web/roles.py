"""Sets of roles for the table of routes. docs/SECURITY.md has the same table, and a test compares them."""

from __future__ import annotations

# Anyone, without a credential.
PUBLIC: frozenset[str] = frozenset()
READERS = frozenset({"admin", "operator", "shop", "read", "client"})
# Secret keys, whatever their role.
KEYS = frozenset({"admin", "operator", "shop", "read"})
DEPOSITORS = frozenset({"admin", "operator", "shop", "client"})
# A tenant's backend. Its role `shop` may not decide about held money.
BACKENDS = frozenset({"admin", "operator", "shop"})
# What spends users' wallets: the tenant's backend, and whoever may do all.
SPENDERS = frozenset({"admin", "shop"})
# Decisions about held money: by people, not by a backend.
DECIDERS = frozenset({"admin", "operator"})
ADMINS = frozenset({"admin"})
CLIENTS = frozenset({"client"})
