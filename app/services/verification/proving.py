"""Runs a proof of the books, either of all rows or of the rows sealed since the last proof."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from app.core.audit_seal import FIRST_SHA256
from app.services.audit_chain.seals import CHAINS
from app.services.verification import books, walking
from app.services.verification.chain import Chain, ChainPosition, ChainSegment, find_position, read_segment
from app.services.verification.checks import Violation, fill, run_all
from app.services.verification.drops import DROPS, check_records, is_behind_drop
from app.services.verification.report import Mode, ProofReport, TenantProgress
from app.services.verification.walking import Chunk, Walk
from models import Database

# A webhook's id is made before its row is committed, within ten minutes: an incremental proof reads that much again.
LATE_SECONDS = 600
# A chunk is read again if a partition was dropped meanwhile. Drops and reads of a chunk each take less than a second.
READS_MAX = 10


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

    def read_chain(self, chain: Chain, kept: TenantProgress, touched: dict[str, set[uuid.UUID]] | None) -> None:
        """Read a chain from the stored position on and advance that; add what its rows name to `touched`."""
        kept.is_clean &= self.find_position(chain, kept)
        while not self.is_time_up():
            segment = self._read(partial(read_segment, chain=chain, after=kept.chains[chain.number]))
            if not segment.seals:
                return
            kept.is_clean &= self.report.add(segment.violations)
            kept.chains[chain.number] = segment.end
            self.count("seals", segment.seals)
            if touched is not None:
                touched["payments"] |= segment.payment_ids
                touched["debits"] |= segment.debit_ids

    def find_position(self, chain: Chain, kept: TenantProgress) -> bool:
        """Check that the stored position is on the chain, which is otherwise read from its first seal."""
        stored = kept.chains[chain.number]
        with self.database.snapshot("auditor") as connection:
            kept.chains[chain.number], violations = find_position(connection, chain, stored.number, stored.sha256)
        return self.report.add(violations)

    def check_touched(self, touched: dict[str, set[uuid.UUID]]) -> bool:
        """Check what the new seals name, its wallets and transfers; return whether there was no violation."""
        is_clean, transfers = True, set[uuid.UUID]()
        for name, (check, subject) in walking.SUBJECTS.items():
            for chunk in walking.cut(touched[name], walking.CHUNK_ROWS):
                is_clean &= self.report.add(self._read(partial(check, ids=chunk)))
                with self.database.snapshot("auditor") as connection:
                    transfers |= walking.list_transfers(connection, chunk, subject)
                self.count(name, len(chunk))
        for chunk in walking.cut(transfers, walking.CHUNK_TRANSFERS):
            is_clean &= self.report.add(self._read(partial(walking.check_transfers, ids=chunk)))
            self.count("transfers", len(chunk))
        return is_clean

    def check_moment(self, tenant_ids: list[uuid.UUID], tenant_id: uuid.UUID | None) -> bool:
        """Run the checks that need all rows of one moment."""
        return self.report.add(self._read(partial(_check_moment, tenant_ids, tenant_id, self.report.mode == "full")))

    def _read(self, read: Callable[..., _Result]) -> _Result:
        """Read in one snapshot; read again where violations may come from a partition dropped meanwhile."""
        for _ in range(READS_MAX):
            with self.database.snapshot("auditor") as connection:
                found = read(connection)
                if not getattr(found, "violations", found) or not is_behind_drop(connection):
                    break
        return found


def _check_moment(
    tenant_ids: list[uuid.UUID], tenant_id: uuid.UUID | None, is_full: bool, connection: Connection
) -> list[Violation]:
    violations = run_all(books.SUMS + books.WAITING, connection, {"tenant_id": tenant_id})
    violations += run_all(books.COUNTERS + DROPS, connection, {"ids": tenant_ids, "is_full": is_full})
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
        reached = TenantProgress(notification_number=old.numbered, webhooks_until=report.started_at)
        for number in old.chains:
            proof.find_position(Chain(each, number), old)
            reached.chains[number] = ChainPosition()
            proof.read_chain(Chain(each, number), reached, None)
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
    touched: dict[str, set[uuid.UUID]] = {name: set() for name in walking.SUBJECTS}
    for number in list(reached.chains):
        proof.read_chain(Chain(tenant_id, number), reached, touched)
    reached.is_clean &= proof.check_touched(touched)
    after = {"after_tenant_id": tenant_id, "after_number": reached.notification_number}
    reached.is_clean &= proof.walk(walking.NUMBER_WALK, tenant_id, after)
    since = reached.webhooks_until - datetime.timedelta(seconds=LATE_SECONDS)
    reached.is_clean &= proof.walk(walking.WEBHOOK_WALK, tenant_id, {"after_id": walking.first_id(since)})
    reached.notification_number, reached.webhooks_until = reached.numbered, proof.report.started_at


_PROGRESS = text(
    """
    select t.id, coalesce(p.notification_number, 0) as proved, coalesce(c.last_number, 0) as numbered,
           coalesce(p.webhooks_until, 'epoch') as webhooks_until
    from tenants t
    left join verification_places p on p.tenant_id = t.id
    left join notification_counters c on c.tenant_id = t.id
    where cast(:tenant_id as uuid) is null or t.id = :tenant_id
    order by p.verified_at nulls first, t.id
    """
)
# The chains of the tenants to prove: those that have seals, and those of which some were proved.
_CHAINS = text(
    fill(
        """
        with recursive $chains, known as (
            select tenant_id, chain from chains where chain is not null
            union select tenant_id, chain from verification_chains
            where cast(:tenant_id as uuid) is null or tenant_id = :tenant_id
        )
        select k.tenant_id, k.chain, coalesce(p.seal_number, 0) as number, coalesce(p.seal_sha256, :first) as sha256
        from known k left join verification_chains p using (tenant_id, chain) order by k.tenant_id, k.chain
        """,
        chains=CHAINS,
    )
)


def _read_progress(database: Database, tenant_id: uuid.UUID | None) -> dict[uuid.UUID, TenantProgress]:
    """Return the tenants to prove, least recently proved first."""
    with database.transaction("auditor") as connection:
        rows = connection.execute(_PROGRESS, {"tenant_id": tenant_id}).all()
        chains = connection.execute(_CHAINS, {"tenant_id": tenant_id, "first": FIRST_SHA256}).all()
    kept = {row.id: TenantProgress({}, row.proved, row.numbered, row.webhooks_until) for row in rows}
    for chain in chains:
        if chain.tenant_id in kept:
            kept[chain.tenant_id].chains[chain.chain] = ChainPosition(chain.number, bytes(chain.sha256))
    return kept
