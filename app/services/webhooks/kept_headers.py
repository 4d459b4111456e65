"""The headers that are stored with a webhook: what its signature needs, what helps an operator, and no credential."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

# Kept with every webhook in addition to those that belong to its signature.
KEPT_HEADERS = ("content-type", "user-agent")


def keep_headers(headers: Mapping[str, str], signed: Sequence[str], credentials: Sequence[str]) -> dict[str, str]:
    """Return the headers to store, by lower-case names; of a header that is a credential only its hash."""
    names = [name for name in (*signed, *KEPT_HEADERS) if name not in credentials]
    kept = {name: value for name in names if (value := headers.get(name)) is not None}
    for name in credentials:
        if (secret := headers.get(name)) is not None:
            kept[name] = "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    return kept
