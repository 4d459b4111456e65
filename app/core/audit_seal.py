"""Hashes of audit rows and of the seals over them; pure, so that they can be recomputed from an export.

Canonical form: every column as text, each with its length before it, so that no two rows share one. Times are
microseconds since 1970, `detail` is the text that PostgreSQL gives for jsonb (keys in one order, no spare blanks).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

# All columns of audit_logs in the order in which they are hashed; a test compares them with the table.
AUDIT_COLUMNS = ("id", "tenant_id", "at", "actor", "kind", "payment_id", "payment_version", "detail")

# `previous_sha256` of the first seal of a chain.
FIRST_SHA256 = bytes(32)

# Enough to name a changed row among those of its seal; the proof is the hash over all of them.
PREFIX_BYTES = 8

# The first form was that of chain 0 and does not name the chain.
_FIRST_FORM, _SEAL_FORM = "sluice-seal-1", "sluice-seal-2"

Value = str | int | None


@dataclass(frozen=True, slots=True)
class Seal:
    """One seal: rows of a tenant, their hash, and the hash of the chain's seal before. `sealed_at` in microseconds."""

    tenant_id: str
    chain: int
    number: int
    first_position: int
    audit_ids: tuple[int, ...]
    rows_sha256: bytes
    previous_sha256: bytes
    sealed_at: int

    @property
    def last_position(self) -> int:
        """The number of rows that this seal and all before it in its chain cover."""
        return self.first_position + len(self.audit_ids) - 1

    @property
    def sha256(self) -> bytes:
        """The hash over the seal's values and, by `previous_sha256`, over all seals before it."""
        values: tuple[Value, ...] = (
            *((_SEAL_FORM, self.tenant_id, self.chain) if self.chain else (_FIRST_FORM, self.tenant_id)),
            self.number,
            self.first_position,
            self.last_position,
            ",".join(map(str, self.audit_ids)),
            self.rows_sha256.hex(),
            self.previous_sha256.hex(),
            self.sealed_at,
        )
        return hash_row(values)


def hash_row(values: Sequence[Value]) -> bytes:
    """Return the SHA-256 of one row's canonical form."""
    parts = []
    for value in values:
        if value is None:
            parts.append(b"-")
        else:
            raw = str(value).encode()
            parts.append(b"%d:" % len(raw) + raw)
    return hashlib.sha256(b"".join(parts)).digest()


def hash_rows(hashes: Sequence[bytes]) -> bytes:
    """Return the SHA-256 over the hashes of a range of rows."""
    return hashlib.sha256(b"".join(hashes)).digest()


def join_prefixes(hashes: Sequence[bytes]) -> bytes:
    """Return the first PREFIX_BYTES of each hash, concatenated."""
    return b"".join(row_hash[:PREFIX_BYTES] for row_hash in hashes)


def find_changed(audit_ids: Sequence[int], hashes: Sequence[bytes], prefixes: bytes) -> list[int]:
    """Return the ids of the rows whose hash has not the prefix that was kept; all ids where none differs."""
    if len(prefixes) != PREFIX_BYTES * len(audit_ids):
        return list(audit_ids)
    pairs = zip(audit_ids, hashes, strict=True)
    changed = [
        audit_id
        for index, (audit_id, row_hash) in enumerate(pairs)
        if prefixes[index * PREFIX_BYTES : (index + 1) * PREFIX_BYTES] != row_hash[:PREFIX_BYTES]
    ]
    return changed or list(audit_ids)
