"""Hashes of audit rows and of the seals over them: pure, so that anyone can repeat them from an export.

Canonical form: every column as text, each with its length before it, so that no two rows share one. Times are
microseconds since 1970, `detail` is the text that PostgreSQL gives for jsonb (keys in one order, no spare blanks).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

# All columns of audit_logs in the order in which they are hashed; a test holds it against the table.
AUDIT_COLUMNS = ("id", "tenant_id", "at", "actor", "kind", "payment_id", "payment_version", "detail")

# What the first seal of a chain is chained to.
FIRST_SHA256 = bytes(32)

# Enough to tell a changed row from the others of its range; the proof itself is the hash over all of them.
MARK_BYTES = 8

_SEAL_FORM = "sluice-seal-1"

Value = str | int | None


@dataclass(frozen=True, slots=True)
class Seal:
    """One link: which rows of which tenant, what they hash to, and the link before. `sealed_at` in microseconds."""

    tenant_id: str
    number: int
    first_position: int
    audit_ids: tuple[int, ...]
    rows_sha256: bytes
    previous_sha256: bytes
    sealed_at: int

    @property
    def last_position(self) -> int:
        """How many of the tenant's rows are sealed with this seal and all before it."""
        return self.first_position + len(self.audit_ids) - 1

    @property
    def sha256(self) -> bytes:
        """The hash over all that the seal says, and by `previous_sha256` over all seals before it."""
        said: tuple[Value, ...] = (
            _SEAL_FORM,
            self.tenant_id,
            self.number,
            self.first_position,
            self.last_position,
            ",".join(map(str, self.audit_ids)),
            self.rows_sha256.hex(),
            self.previous_sha256.hex(),
            self.sealed_at,
        )
        return hash_row(said)


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


def mark_rows(hashes: Sequence[bytes]) -> bytes:
    """Return the marks of a range of rows, one after the other."""
    return b"".join(row_hash[:MARK_BYTES] for row_hash in hashes)


def find_changed(audit_ids: Sequence[int], hashes: Sequence[bytes], marks: bytes) -> list[int]:
    """Return the ids of the rows whose mark is not the one that was kept; all are listed where none can be told."""
    if len(marks) != MARK_BYTES * len(audit_ids):
        return list(audit_ids)
    pairs = zip(audit_ids, hashes, strict=True)
    changed = [
        audit_id
        for place, (audit_id, row_hash) in enumerate(pairs)
        if marks[place * MARK_BYTES : (place + 1) * MARK_BYTES] != row_hash[:MARK_BYTES]
    ]
    return changed or list(audit_ids)
