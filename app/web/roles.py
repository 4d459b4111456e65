"""Which roles may call what: the sets that the table of routes is made of.

Each role may do its own part and nothing of another's. docs/SECURITY.md has the same table, and a test compares them.
"""

from __future__ import annotations

# Anyone, without a credential.
PUBLIC: frozenset[str] = frozenset()
READERS = frozenset({"admin", "operator", "shop", "read", "client"})
DEPOSITORS = frozenset({"admin", "operator", "shop", "client"})
# A tenant's own server. `shop` is the role for it: it decides nothing about held money.
BACKENDS = frozenset({"admin", "operator", "shop"})
# Who decides about held money: people, not a shop's server.
DECIDERS = frozenset({"admin", "operator"})
ADMINS = frozenset({"admin"})
CLIENTS = frozenset({"client"})
