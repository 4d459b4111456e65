"""Runs a proof of the books, either of all rows or of the rows sealed since the last proof."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, text

from app.core.audit_seal import FIRST_SHA256
from app.core.payment import format_time
from app.services.verification import books, walking
from app.services.verification.chain import ChainPosition, ChainSegment, find_position, read_segment
from app.services.verification.checks import Violation, run_all
from app.services.verification.drops import DROPS, check_records, is_behind_drop
from app.services.verification.walking import Chunk, Walk
from models import Database

Mode = Literal["full", "incremental"]

# Rows kept in a report for each broken invariant: enough to find the cause. All are counted.
ROWS_KEPT = 50
# A webhook's id is made before its row is committed, within ten minutes: an incremental proof reads that much again.
LATE_SECONDS = 600
# A chunk is read again if a partition was dropped meanwhile. Drops and reads of a chunk each take less than a second.
READS_MAX = 10


@dataclass(slots=True)
class BrokenInvariant:
    """A statement of an invariant that is false: the number of rows that break it, and the first of these."""

    invariant: str
    statement: str
    count: int = 0
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class TenantProgress:
    """How far one tenant's books are proved; `is_clean` is false once a proof found a violation."""

    chain: ChainPosition = field(default_factory=ChainPosition)
    # The last number proved before, and the last number given when this proof began.
    notification_number: int = 0
    numbered: int = 0
    webhooks_until: datetime.datetime = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    is_clean: bool = True


@dataclass(slots=True)
class ProofReport:
    """The result of a proof; it covers all of the books only if `is_complete`."""

    mode: Mode
    tenant_id: uuid.UUID | None
    started_at: datetime.datetime
    seconds: float = 0.0
    is_complete: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    broken: dict[tuple[str, str], BrokenInvariant] = field(default_factory=dict)
    progress: dict[uuid.UUID, TenantProgress] = field(default_factory=dict)

    def count(self, name: str, rows: int) -> None:
        """Add to the number of rows read, by the name of the rows."""
        self.counts[name] = self.counts.get(name, 0) + rows

    def add(self, violations: Sequence[Violation]) -> bool:
        """Add the violations that a check found; return whether there were none."""
        for violation in violations:
            name = violation.invariant, violation.statement
            broken = self.broken.setdefault(name, BrokenInvariant(*name))
            row = {"subject": violation.subject, "detail": violation.detail}
            if row not in broken.rows:
                broken.count += 1
                if len(broken.rows) < ROWS_KEPT:
                    broken.rows.append(row)
        return not violations

    @property
    def is_whole(self) -> bool:
        """Whether the rows read show no violation."""
        return not self.broken

    @property
    def in_order(self) -> list[BrokenInvariant]:
        """The broken invariants by their number and statement."""
        return sorted(self.broken.values(), key=lambda each: (int(each.invariant[1:]), each.statement))

    @property
    def invariants(self) -> list[str]:
        """The names of the broken invariants, in their order."""
        return list(dict.fromkeys(each.invariant for each in self.in_order))

    @property
    def verdict(self) -> str:
        """The result in one line."""
        read = ", ".join(f"{rows:,} {name}" for name, rows in self.counts.items() if rows) or "nothing new"
        took = f"{self.mode} proof in {self.seconds:.1f} s: {read}"
        if not self.is_whole:
            return f"BROKEN: {', '.join(self.invariants)} ({took})"
        return f"The books hold ({took})" if self.is_complete else f"The books hold so far; time was up ({took})"

    def as_json(self) -> dict[str, Any]:
        """Return the report as one JSON document."""
        return {
            "ok": self.is_whole,
            "verdict": self.verdict,
            "mode": self.mode,
            "is_complete": self.is_complete,
            "started_at": format_time(self.started_at),
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "broken": [
                {"invariant": each.invariant, "what": each.statement, "count": each.count, "rows": each.rows}
                for each in self.in_order
            ],
        }


Progress = Callable[[str, int], None]
_Result = TypeVar("_Result", Chunk, ChainSegment, list[Violation])


class _Proof:
    """A running proof: its report, its deadline, and the receiver of its progress."""

    def __init__(
        self, database: Database, report: ProofReport, seconds_max: float | None, progress: Progress | None
    ) -> None:
        self.database, self.report, self.progress = database, report, progress
        self.deadline = None if seconds_max is None else time.monotonic() + seconds_max

    def is_time_up(self) -> bool:
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.report.is_complete = False
            return True
        return False

    def count(self, name: str, rows: int) -> None:
        self.report.count(name, rows)
        if self.progress is not None and rows:
            self.progress(name, rows)

    def walk(self, walk: Walk, tenant_id: uuid.UUID | None, after: dict[str, Any] | None = None) -> bool:
        """Walk a table to its end or until time is up; return whether there was no violation."""
        cursor: dict[str, Any] | None = {**walk.start, **(after or {})}
        is_clean = True
        while cursor is not None and not self.is_time_up():
            chunk = self._read(partial(walking.read_chunk, walk=walk, after=cursor, tenant_id=tenant_id))
            is_clean &= self.report.add(chunk.violations)
            self.count(walk.name, chunk.rows)
            cursor = chunk.after
        return is_clean

    def read_chain(self, tenant_id: uuid.UUID, kept: TenantProgress, touched: set[uuid.UUID] | None) -> None:
        """Read a chain from the stored position on and advance that; add the payments of its rows to `touched`."""
        with self.database.snapshot("auditor") as connection:
            kept.chain, violations = find_position(connection, tenant_id, kept.chain.number, kept.chain.sha256)
        kept.is_clean &= self.report.add(violations)
        while not self.is_time_up():
            segment = self._read(partial(read_segment, tenant_id=tenant_id, after=kept.chain))
            if not segment.seals:
                return
            kept.is_clean &= self.report.add(segment.violations)
            kept.chain = segment.end
            self.count("seals", segment.seals)
            if touched is not None:
                touched |= segment.payment_ids

    def check_touched(self, touched: set[uuid.UUID]) -> bool:
        """Check the payments of the new seals, their wallets and transfers; return whether there was no violation."""
        is_clean, transfers = True, set[uuid.UUID]()
        for chunk in walking.cut(touched, walking.CHUNK_ROWS):
            is_clean &= self.report.add(self._read(partial(walking.check_payments, ids=chunk)))
            with self.database.snapshot("auditor") as connection:
                transfers |= walking.list_transfers(connection, chunk)
            self.count("payments", len(chunk))
        for chunk in walking.cut(transfers, walking.CHUNK_TRANSFERS):
            is_clean &= self.report.add(self._read(partial(walking.check_transfers, ids=chunk)))
            self.count("transfers", len(chunk))
        return is_clean

    def check_moment(self, tenant_ids: list[uuid.UUID], tenant_id: uuid.UUID | None) -> bool:
        """Run the checks that need all rows of one moment."""
        return self.report.add(self._read(partial(_check_moment, tenant_ids=tenant_ids, tenant_id=tenant_id)))

    def _read(self, read: Callable[..., _Result]) -> _Result:
        """Read in one snapshot; read again where violations may come from a partition dropped meanwhile."""
        for _ in range(READS_MAX):
            with self.database.snapshot("auditor") as connection:
                found = read(connection)
                if not getattr(found, "violations", found) or not is_behind_drop(connection):
                    break
        return found


def _check_moment(connection: Connection, tenant_ids: list[uuid.UUID], tenant_id: uuid.UUID | None) -> list[Violation]:
    violations = run_all(books.SUMS + books.WAITING, connection, {"tenant_id": tenant_id})
    violations += run_all(books.COUNTERS + DROPS, connection, {"ids": tenant_ids})
    return violations + check_records(connection, tenant_ids)


def prove(
    database: Database,
    mode: Mode,
    tenant_id: uuid.UUID | None = None,
    seconds_max: float | None = None,
    progress: Progress | None = None,
) -> ProofReport:
    """Prove the books of one tenant or of all, and return the result; write nothing.

    `full` reads every row, chunk by chunk. `incremental` reads each chain from the end of the last proof without a
    violation, and checks the payments of the new audit rows, their wallets, and new webhooks and notifications.
    `seconds_max` ends it between two chunks. `progress` is called with (name of the rows, number of them).
    """
    started = time.monotonic()
    report = ProofReport(mode, tenant_id, datetime.datetime.now(datetime.UTC))
    proof = _Proof(database, report, seconds_max, progress)
    kept = _read_progress(database, tenant_id)
    _prove_full(proof, kept, tenant_id) if mode == "full" else _prove_incremental(proof, kept, tenant_id)
    report.seconds = time.monotonic() - started
    return report


def _prove_full(proof: _Proof, kept: dict[uuid.UUID, TenantProgress], tenant_id: uuid.UUID | None) -> None:
    report = proof.report
    for walk in walking.WALKS:
        proof.walk(walk, tenant_id)
    proof.check_moment(list(kept), tenant_id)
    for each, old in kept.items():
        # The stored position must still be on the chain, which is then read from its first seal.
        with proof.database.snapshot("auditor") as connection:
            report.add(find_position(connection, each, old.chain.number, old.chain.sha256)[1])
        reached = TenantProgress(notification_number=old.numbered, webhooks_until=report.started_at)
        proof.read_chain(each, reached, None)
        report.progress[each] = reached
    if report.broken or not report.is_complete:
        report.progress.clear()


def _prove_incremental(proof: _Proof, kept: dict[uuid.UUID, TenantProgress], tenant_id: uuid.UUID | None) -> None:
    report = proof.report
    is_clean = proof.check_moment(list(kept), tenant_id)
    for each, reached in kept.items():
        if proof.is_time_up():
            return
        _prove_tenant(proof, each, reached)
        if is_clean and reached.is_clean and report.is_complete:
            report.progress[each] = reached


def _prove_tenant(proof: _Proof, tenant_id: uuid.UUID, reached: TenantProgress) -> None:
    touched: set[uuid.UUID] = set()
    proof.read_chain(tenant_id, reached, touched)
    reached.is_clean &= proof.check_touched(touched)
    after = {"after_tenant_id": tenant_id, "after_number": reached.notification_number}
    reached.is_clean &= proof.walk(walking.NUMBER_WALK, tenant_id, after)
    since = reached.webhooks_until - datetime.timedelta(seconds=LATE_SECONDS)
    reached.is_clean &= proof.walk(walking.WEBHOOK_WALK, tenant_id, {"after_id": walking.first_id(since)})
    reached.notification_number, reached.webhooks_until = reached.numbered, proof.report.started_at


_PROGRESS = text(
    """
    select t.id, coalesce(p.seal_number, 0) as seal_number, coalesce(p.seal_sha256, :first_sha256) as seal_sha256,
           coalesce(p.notification_number, 0) as proved, coalesce(c.last_number, 0) as numbered,
           coalesce(p.webhooks_until, 'epoch') as webhooks_until
    from tenants t
    left join verification_places p on p.tenant_id = t.id
    left join notification_counters c on c.tenant_id = t.id
    where cast(:tenant_id as uuid) is null or t.id = :tenant_id
    order by p.verified_at nulls first, t.id
    """
)


def _read_progress(database: Database, tenant_id: uuid.UUID | None) -> dict[uuid.UUID, TenantProgress]:
    """Return the tenants to prove, least recently proved first."""
    with database.transaction("auditor") as connection:
        rows = connection.execute(_PROGRESS, {"tenant_id": tenant_id, "first_sha256": FIRST_SHA256}).all()
    return {
        row.id: TenantProgress(
            ChainPosition(row.seal_number, bytes(row.seal_sha256)), row.proved, row.numbered, row.webhooks_until
        )
        for row in rows
    }
