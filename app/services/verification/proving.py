"""One proof of the books: the whole of them, or what has been sealed since the last proof."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, text

from app.core.payment import format_time
from app.services.verification import books
from app.services.verification.chain import Place, Stretch, find_place, read_stretch
from app.services.verification.checks import Breach, run_all
from app.services.verification.drops import DROPS, check_records, is_behind_drop
from app.services.verification.walking import (
    CHUNK_ROWS,
    NUMBER_WALK,
    WALKS,
    WEBHOOK_WALK,
    Chunk,
    Walk,
    check_payments,
    first_id,
    read_chunk,
)
from models import Database

Mode = Literal["full", "incremental"]

# Of one kind of breach this many rows are kept in a report; the count goes on.
ROWS_KEPT = 50
# A webhook's id is made before its row is committed: this much older ones may still have come later.
LATE_SECONDS = 600
# Partitions are dropped one by one, each within parts of a second; a chunk is read in about as long.
LOOKS_MAX = 10


@dataclass(slots=True)
class Broken:
    """One broken invariant: how, how many rows break it, and the first of them as (row, what it says)."""

    invariant: str
    what: str
    count: int = 0
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class TenantPlace:
    """How far one tenant's books are proved."""

    chain: Place = field(default_factory=Place)
    # Proved up to this number before; numbers given when this proof began, which it will have walked over.
    notification_number: int = 0
    numbered: int = 0
    webhooks_until: datetime.datetime = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    is_clean: bool = True


@dataclass(slots=True)
class Report:
    """What a proof has found. It proves nothing beyond what it has reached: `is_complete` says whether that is all."""

    mode: Mode
    tenant_id: uuid.UUID | None
    started_at: datetime.datetime
    seconds: float = 0.0
    is_complete: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    broken: dict[tuple[str, str], Broken] = field(default_factory=dict)
    places: dict[uuid.UUID, TenantPlace] = field(default_factory=dict)

    def count(self, name: str, rows: int) -> None:
        """Count what was looked at."""
        self.counts[name] = self.counts.get(name, 0) + rows

    def add(self, breaches: Iterable[Breach]) -> bool:
        """Take up what a check has found; return whether it was nothing."""
        found = False
        for breach in breaches:
            found = True
            broken = self.broken.setdefault((breach.invariant, breach.what), Broken(breach.invariant, breach.what))
            row = {"subject": breach.subject, "detail": breach.detail}
            if row not in broken.rows:
                broken.count += 1
                if len(broken.rows) < ROWS_KEPT:
                    broken.rows.append(row)
        return not found

    @property
    def is_whole(self) -> bool:
        """Whether nothing is broken in what was looked at."""
        return not self.broken

    @property
    def invariants(self) -> list[str]:
        """The names of the broken invariants, in their order."""
        return sorted({broken.invariant for broken in self.broken.values()}, key=lambda name: int(name[1:]))

    @property
    def verdict(self) -> str:
        """The result in one line."""
        looked = ", ".join(f"{rows:,} {name}" for name, rows in self.counts.items() if rows) or "nothing new"
        took = f"{self.mode} proof in {self.seconds:.1f} s: {looked}"
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
                {"invariant": each.invariant, "what": each.what, "count": each.count, "rows": each.rows}
                for each in sorted(self.broken.values(), key=lambda each: (int(each.invariant[1:]), each.what))
            ],
        }


Progress = Callable[[str, int], None]
_Found = TypeVar("_Found", Chunk, Stretch, list[Breach])


class _Proof:
    """A proof under way: its report, its deadline, and who is told of its progress."""

    def __init__(
        self, database: Database, report: Report, seconds_max: float | None, progress: Progress | None
    ) -> None:
        self.database, self.report, self.progress = database, report, progress
        self.deadline = None if seconds_max is None else time.monotonic() + seconds_max

    def is_time_up(self) -> bool:
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.report.is_complete = False
            return True
        return False

    def looked(self, name: str, rows: int) -> None:
        self.report.count(name, rows)
        if self.progress is not None and rows:
            self.progress(name, rows)

    def walk(self, walk: Walk, tenant_id: uuid.UUID | None, after: dict[str, Any] | None = None) -> bool:
        """Walk a table to its end or until time is up; return whether nothing was broken."""
        place: dict[str, Any] | None = {**walk.start, **(after or {})}
        is_clean = True
        while place is not None and not self.is_time_up():
            chunk = self._look(partial(read_chunk, walk=walk, after=place, tenant_id=tenant_id))
            is_clean &= self.report.add(chunk.breaches)
            self.looked(walk.name, chunk.rows)
            place = chunk.after
        return is_clean

    def read_chain(self, tenant_id: uuid.UUID, kept: TenantPlace, touched: set[uuid.UUID] | None) -> None:
        """Read a chain on from the kept place and move that along; `touched` takes up the payments in it."""
        with self.database.snapshot("auditor") as connection:
            kept.chain, breaches = find_place(connection, tenant_id, kept.chain.number, kept.chain.sha256)
        kept.is_clean &= self.report.add(breaches)
        while not self.is_time_up():
            stretch = self._look(partial(read_stretch, tenant_id=tenant_id, after=kept.chain))
            if not stretch.seals:
                return
            kept.is_clean &= self.report.add(stretch.breaches)
            kept.chain = stretch.end
            self.looked("seals", stretch.seals)
            if touched is not None:
                touched |= stretch.payment_ids

    def check_touched(self, touched: set[uuid.UUID]) -> bool:
        """Check the payments that the new seals tell of, with their wallets; return whether nothing was broken."""
        is_clean, ids = True, sorted(touched)
        for start in range(0, len(ids), CHUNK_ROWS):
            chunk = ids[start : start + CHUNK_ROWS]
            is_clean &= self.report.add(self._look(partial(check_payments, ids=chunk)))
            self.looked("payments", len(chunk))
        return is_clean

    def check_moment(self, tenant_ids: list[uuid.UUID], tenant_id: uuid.UUID | None) -> bool:
        """Check what is true of all rows of one moment and not of one row alone."""
        return self.report.add(self._look(partial(_check_moment, tenant_ids=tenant_ids, tenant_id=tenant_id)))

    def _look(self, read: Callable[..., _Found]) -> _Found:
        """Read in one snapshot, and once more where that finds something broken and was behind a drop."""
        for _ in range(LOOKS_MAX):
            with self.database.snapshot("auditor") as connection:
                found = read(connection)
                if not getattr(found, "breaches", found) or not is_behind_drop(connection):
                    break
        return found


def _check_moment(connection: Connection, tenant_ids: list[uuid.UUID], tenant_id: uuid.UUID | None) -> list[Breach]:
    breaches = run_all(books.SUMS + books.WAITING, connection, {"tenant_id": tenant_id})
    breaches += run_all(books.COUNTERS + DROPS, connection, {"ids": tenant_ids})
    return breaches + check_records(connection, tenant_ids)


def prove(
    database: Database,
    mode: Mode,
    tenant_id: uuid.UUID | None = None,
    seconds_max: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Prove the books of one tenant or of all, and return what it found; write nothing.

    `full` reads every row, chunk by chunk. `incremental` reads each chain on from the last proof without a breach,
    and check the payments that the new audit rows tell of, the wallets they touched, and new webhooks and
    notifications. `seconds_max` ends it between two chunks. `progress` is told (name of the rows, how many).
    """
    started = time.monotonic()
    report = Report(mode, tenant_id, datetime.datetime.now(datetime.UTC))
    proof = _Proof(database, report, seconds_max, progress)
    kept = _read_places(database, tenant_id)
    _prove_full(proof, kept, tenant_id) if mode == "full" else _prove_incremental(proof, kept, tenant_id)
    report.seconds = time.monotonic() - started
    return report


def _prove_full(proof: _Proof, kept: dict[uuid.UUID, TenantPlace], tenant_id: uuid.UUID | None) -> None:
    report = proof.report
    for walk in WALKS:
        proof.walk(walk, tenant_id)
    proof.check_moment(list(kept), tenant_id)
    for each, old in kept.items():
        # The place that was kept must still be on the chain; then all of it is read from its first seal.
        with proof.database.snapshot("auditor") as connection:
            report.add(find_place(connection, each, old.chain.number, old.chain.sha256)[1])
        place = TenantPlace(notification_number=old.numbered, webhooks_until=report.started_at)
        proof.read_chain(each, place, None)
        report.places[each] = place
    if report.broken or not report.is_complete:
        report.places.clear()


def _prove_incremental(proof: _Proof, kept: dict[uuid.UUID, TenantPlace], tenant_id: uuid.UUID | None) -> None:
    report = proof.report
    is_clean = proof.check_moment(list(kept), tenant_id)
    for each, place in kept.items():
        if proof.is_time_up():
            return
        _prove_tenant(proof, each, place)
        if is_clean and place.is_clean and report.is_complete:
            report.places[each] = place


def _prove_tenant(proof: _Proof, tenant_id: uuid.UUID, place: TenantPlace) -> None:
    touched: set[uuid.UUID] = set()
    proof.read_chain(tenant_id, place, touched)
    place.is_clean &= proof.check_touched(touched)
    after = {"after_tenant_id": tenant_id, "after_number": place.notification_number}
    place.is_clean &= proof.walk(NUMBER_WALK, tenant_id, after)
    since = place.webhooks_until - datetime.timedelta(seconds=LATE_SECONDS)
    place.is_clean &= proof.walk(WEBHOOK_WALK, tenant_id, {"after_id": first_id(since)})
    place.notification_number, place.webhooks_until = place.numbered, proof.report.started_at


_PLACES = text(
    """
    select t.id, p.seal_number, p.seal_sha256, p.notification_number, p.webhooks_until,
           coalesce(c.last_number, 0) as numbered
    from tenants t
    left join verification_places p on p.tenant_id = t.id
    left join notification_counters c on c.tenant_id = t.id
    where cast(:tenant_id as uuid) is null or t.id = :tenant_id
    order by p.verified_at nulls first, t.id
    """
)


def _read_places(database: Database, tenant_id: uuid.UUID | None) -> dict[uuid.UUID, TenantPlace]:
    """The tenants to prove, those first that were proved the longest ago."""
    with database.transaction("auditor") as connection:
        rows = connection.execute(_PLACES, {"tenant_id": tenant_id}).all()
    return {
        row.id: TenantPlace(numbered=row.numbered)
        if row.seal_number is None
        else TenantPlace(
            Place(row.seal_number, bytes(row.seal_sha256)), row.notification_number, row.numbered, row.webhooks_until
        )
        for row in rows
    }
