"""Verifies a tenant's chain of seals: each link, and each audit row that a seal names."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from sqlalchemy import Connection, RowMapping, text

from app.core.audit_seal import FIRST_SHA256, Seal, find_changed, hash_rows
from app.services.audit_chain.seals import AUDIT_TEXT, SEAL_COLUMNS, hash_audit_rows
from app.services.verification.checks import Violation, fill
from app.services.verification.drops import read_dropped_seals

# Bounds of one snapshot: reading and hashing ten thousand rows takes a fraction of a second.
SEALS_MAX = 100
ROWS_MAX = 10_000

_SEALS = text(
    fill(
        """
        -- the next seals, up to the one whose rows pass the bound
        select $columns from (
            select *, sum(cardinality(audit_ids)) over (order by number) as rows_so_far from audit_seals
            where tenant_id = :tenant_id and number > :after order by number limit :seals) as s
        where rows_so_far - cardinality(audit_ids) < :rows order by number
        """,
        columns=SEAL_COLUMNS,
    )
)
_SEAL = text("select seal_sha256, last_position from audit_seals where tenant_id = :tenant_id and number = :number")
_ROWS = text(fill("select $columns from audit_logs a where a.id = any(cast(:ids as bigint[]))", columns=AUDIT_TEXT))

_LINKS = "seals are numbered without a gap, and each is chained to the one before"
_CONTENT = "a sealed audit row is as it was sealed"
_PRESENT = "a sealed audit row exists"


@dataclass(slots=True)
class ChainPosition:
    """How far a chain was read: the last seal's number and hash, and the number of rows sealed up to it."""

    number: int = 0
    sha256: bytes = FIRST_SHA256
    position: int = 0


@dataclass(slots=True)
class ChainSegment:
    """Result of reading consecutive seals: their end, their violations, and the payments of their rows."""

    end: ChainPosition
    seals: int = 0
    rows: int = 0
    violations: list[Violation] = field(default_factory=list)
    payment_ids: set[uuid.UUID] = field(default_factory=set)


def find_position(
    connection: Connection, tenant_id: uuid.UUID, number: int, sha256: bytes
) -> tuple[ChainPosition, list[Violation]]:
    """Return the position after seal `number`; the chain's beginning and a violation where its hash is another."""
    if number == 0:
        return ChainPosition(), []
    row = connection.execute(_SEAL, {"tenant_id": tenant_id, "number": number}).first()
    if row is not None and bytes(row.seal_sha256) == sha256:
        return ChainPosition(number, sha256, row.last_position), []
    detail = "is missing" if row is None else "has another hash"
    return ChainPosition(), [
        Violation("I11", "the chain continues from what was proved", _seal_name(tenant_id, number), detail)
    ]


def read_segment(connection: Connection, tenant_id: uuid.UUID, after: ChainPosition) -> ChainSegment:
    """Read and verify the next seals after a position; a segment without seals means the end of the chain."""
    parameters = {"tenant_id": tenant_id, "after": after.number, "seals": SEALS_MAX, "rows": ROWS_MAX}
    seals = connection.execute(_SEALS, parameters).mappings().all()
    segment = ChainSegment(after)
    if not seals:
        return segment
    dropped = read_dropped_seals(connection, tenant_id)
    held = [seal for seal in seals if not any(range_.has(seal["number"]) for range_ in dropped)]
    ids = [audit_id for seal in held for audit_id in seal["audit_ids"]]
    rows = {row["id"]: row for row in connection.execute(_ROWS, {"ids": ids}).mappings()}
    for seal in seals:
        segment.violations += _check_link(tenant_id, seal, segment.end)
        if seal in held:
            segment.violations += _check_rows(tenant_id, seal, rows)
        segment.end = ChainPosition(seal["number"], bytes(seal["seal_sha256"]), seal["last_position"])
    segment.seals, segment.rows = len(seals), len(ids)
    segment.payment_ids = {uuid.UUID(row["payment_id"]) for row in rows.values() if row["payment_id"]}
    return segment


def _seal_name(tenant_id: uuid.UUID, number: int) -> str:
    return f"tenant {tenant_id}, seal {number}"


def _check_link(tenant_id: uuid.UUID, row: RowMapping, before: ChainPosition) -> list[Violation]:
    wrong = []
    if row["number"] != before.number + 1:
        wrong.append(f"follows seal {before.number}")
    elif bytes(row["previous_sha256"]) != before.sha256:
        wrong.append(f"is not chained to seal {before.number}")
    elif row["first_position"] != before.position + 1:
        wrong.append(f"begins at row {row['first_position']}, after row {before.position}")
    ids = tuple(row["audit_ids"])
    if list(ids) != sorted(set(ids)) or (row["first_audit_id"], row["last_audit_id"]) != (ids[0], ids[-1]):
        wrong.append("names its rows out of order")
    seal = Seal(
        tenant_id=str(tenant_id),
        number=row["number"],
        first_position=row["first_position"],
        audit_ids=ids,
        rows_sha256=bytes(row["rows_sha256"]),
        previous_sha256=bytes(row["previous_sha256"]),
        sealed_at=row["sealed_at"],
    )
    if seal.sha256 != bytes(row["seal_sha256"]):
        wrong.append("does not match its hash")
    return [Violation("I11", _LINKS, _seal_name(tenant_id, row["number"]), ", ".join(wrong))] if wrong else []


def _check_rows(tenant_id: uuid.UUID, seal: RowMapping, rows: dict[int, RowMapping]) -> list[Violation]:
    ids = seal["audit_ids"]
    name = _seal_name(tenant_id, seal["number"])
    missing = [audit_id for audit_id in ids if audit_id not in rows]
    violations = [Violation("I11", _PRESENT, f"audit row {audit_id}", name) for audit_id in missing]
    marks = bytes(seal["row_marks"])
    if missing:
        return violations
    hashes = hash_audit_rows([rows[audit_id] for audit_id in ids])
    if hash_rows(hashes) != bytes(seal["rows_sha256"]):
        changed = find_changed(ids, hashes, marks)
        violations += [Violation("I11", _CONTENT, f"audit row {audit_id}", name) for audit_id in changed]
    return violations
