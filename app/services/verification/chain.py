"""Verifies a tenant's chains of seals: each link, and each audit row that a seal names."""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass, field

from sqlalchemy import Connection, RowMapping, text

from app.core.audit_seal import FIRST_SHA256, Seal, find_changed, hash_rows
from app.services.audit_chain.seals import AUDIT_TEXT, SEAL_COLUMNS, hash_audit_rows
from app.services.verification.checks import Violation, fill
from app.services.verification.drops import IS_DROPPED_SEAL

# Bounds of one snapshot: reading and hashing so many takes a fraction of a second.
SEALS_MAX = 2_000
ROWS_MAX = 10_000

_SEALS = text(
    fill(
        """
        -- the next seals, up to the one whose rows pass the bound
        select $columns, $is_dropped as is_dropped from (
            select *, sum(cardinality(audit_ids)) over (order by number) as rows_so_far from audit_seals
            where tenant_id = :tenant_id and chain = :chain and number > :after order by number limit :seals) as s
        where rows_so_far - cardinality(audit_ids) < :rows order by number
        """,
        columns=SEAL_COLUMNS,
        is_dropped=IS_DROPPED_SEAL,
    )
)
_SEAL = text(
    "select seal_sha256, last_position from audit_seals"
    " where tenant_id = :tenant_id and chain = :chain and number = :number"
)
# The times of the seals are those of their rows, so that few partitions are searched; not so in chain 0.
_ROWS = text(
    fill(
        "select $columns from audit_logs a where a.id = any(cast(:ids as bigint[])) and (a.at between"
        " to_timestamp(0) + :first * interval '1 microsecond' and to_timestamp(0) + :last * interval '1 microsecond')",
        columns=AUDIT_TEXT,
    )
)
_DEBIT_KINDS = ("debit_created", "debit_reversed")
# More microseconds than chain 0 has seen, and less than PostgreSQL's times can be.
_ALL_TIME = (-(2**52), 2**57)

_LINKS = "seals are numbered without a gap, and each is chained to the one before"
_CONTENT = "a sealed audit row is as it was sealed"
_PRESENT = "a sealed audit row exists"


@dataclass(frozen=True, slots=True)
class Chain:
    """One of a tenant's chains."""

    tenant_id: uuid.UUID
    number: int

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of queries about its seals."""
        return {"tenant_id": self.tenant_id, "chain": self.number}

    def name_seal(self, number: int) -> str:
        """Return the name of a seal in reports."""
        return f"tenant {self.tenant_id}, chain {self.number}, seal {number}"


@dataclass(slots=True)
class ChainPosition:
    """How far a chain was read: the last seal's number and hash, and the number of rows sealed up to it."""

    number: int = 0
    sha256: bytes = FIRST_SHA256
    position: int = 0


@dataclass(slots=True)
class ChainSegment:
    """Result of reading consecutive seals: their end, their violations, and the payments and debits of their rows."""

    end: ChainPosition
    seals: int = 0
    rows: int = 0
    violations: list[Violation] = field(default_factory=list)
    payment_ids: set[uuid.UUID] = field(default_factory=set)
    debit_ids: set[uuid.UUID] = field(default_factory=set)


def find_position(
    connection: Connection, chain: Chain, number: int, sha256: bytes
) -> tuple[ChainPosition, list[Violation]]:
    """Return the position after seal `number`; the chain's beginning and a violation where its hash is another."""
    if number == 0:
        return ChainPosition(), []
    row = connection.execute(_SEAL, {**chain.parameters, "number": number}).first()
    if row is not None and bytes(row.seal_sha256) == sha256:
        return ChainPosition(number, sha256, row.last_position), []
    detail = "is missing" if row is None else "has another hash"
    return ChainPosition(), [
        Violation("I11", "the chain continues from what was proved", chain.name_seal(number), detail)
    ]


def read_segment(connection: Connection, chain: Chain, after: ChainPosition) -> ChainSegment:
    """Read and verify the next seals after a position; a segment without seals means the end of the chain."""
    parameters = {**chain.parameters, "after": after.number, "seals": SEALS_MAX, "rows": ROWS_MAX}
    seals = connection.execute(_SEALS, parameters).mappings().all()
    segment = ChainSegment(after)
    if not seals:
        return segment
    held = [seal for seal in seals if not seal["is_dropped"]]
    ids = [audit_id for seal in held for audit_id in seal["audit_ids"]]
    times = [seal["sealed_at"] for seal in held] if chain.number else _ALL_TIME
    wanted = {"ids": ids, "first": min(times, default=0), "last": max(times, default=0)}
    rows = {row["id"]: row for row in connection.execute(_ROWS, wanted).mappings()}
    for seal in seals:
        segment.violations += _check_link(chain, seal, segment.end)
        if not seal["is_dropped"]:
            segment.violations += _check_rows(chain, seal, rows)
        segment.end = ChainPosition(seal["number"], bytes(seal["seal_sha256"]), seal["last_position"])
    segment.seals, segment.rows = len(seals), len(ids)
    segment.payment_ids = {uuid.UUID(row["payment_id"]) for row in rows.values() if row["payment_id"]}
    debits = {json.loads(row["detail"]).get("debit_id") for row in rows.values() if row["kind"] in _DEBIT_KINDS}
    with contextlib.suppress(ValueError, TypeError):  # a manipulated row may hold anything; its hash says so
        segment.debit_ids = {uuid.UUID(debit_id) for debit_id in debits}
    return segment


def _check_link(chain: Chain, row: RowMapping, before: ChainPosition) -> list[Violation]:
    wrong = []
    if row["number"] != before.number + 1:
        wrong.append(f"follows seal {before.number}")
    elif bytes(row["previous_sha256"]) != before.sha256:
        wrong.append(f"is not chained to seal {before.number}")
    elif row["first_position"] != before.position + 1:
        wrong.append(f"begins at row {row['first_position']}, after row {before.position}")
    ids = tuple(row["audit_ids"])
    if list(ids) != sorted(set(ids)) or (row["first_audit_id"], row["last_audit_id"]) != (*ids[:1], *ids[-1:]):
        wrong.append("names its rows out of order")
    seal = Seal(
        tenant_id=str(chain.tenant_id),
        chain=chain.number,
        number=row["number"],
        first_position=row["first_position"],
        audit_ids=ids,
        rows_sha256=bytes(row["rows_sha256"]),
        previous_sha256=bytes(row["previous_sha256"]),
        sealed_at=row["sealed_at"],
    )
    if seal.sha256 != bytes(row["seal_sha256"]):
        wrong.append("does not match its hash")
    return [Violation("I11", _LINKS, chain.name_seal(row["number"]), ", ".join(wrong))] if wrong else []


def _check_rows(chain: Chain, seal: RowMapping, rows: dict[int, RowMapping]) -> list[Violation]:
    ids = seal["audit_ids"]
    name = chain.name_seal(seal["number"])
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
