"""Claim due webhooks: a worker takes the next batch for the time of a lease."""

from __future__ import annotations

import datetime
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

from app.runtime.metrics import SETTLE_BATCH
from app.runtime.runtime import Runtime
from models import Row, new_id, single, tables
from models.array_params import rows_of
from models.sql import sql

# Measured: at 200 rows each takes a sixth longer; 1,000 rows save a twentieth more and hold their locks twice as long.
BATCH_ROWS = 500
# A worker's first batch, each further one of a full queue being twice as large: while the queue is short, several
# workers share it, and what comes meanwhile waits for a small batch only.
FIRST_ROWS = 64
# As long as Celery lets a task run: when the lease ends, a killed worker is certainly gone.
LEASE_SECONDS = 30
# A scan of the whole queue takes at most one part in this many of a worker's time, unless the queue may be empty.
SCAN_SHARE = 10

# `waiting`: the tenants that have webhooks due. The recursive part hops from tenant to tenant in the index, so its cost
# grows with tenants, not with rows.
FROM_THE_START = """
    with recursive hop as (
        (select tenant_id from webhook_work order by tenant_id limit 1)
        union all
        select (select w.tenant_id from webhook_work w where w.tenant_id > hop.tenant_id order by w.tenant_id limit 1)
        from hop where hop.tenant_id is not null
    ), waiting as (
        select hop.tenant_id, timestamptz '-infinity' as due_at,
               uuid '00000000-0000-0000-0000-000000000000' as webhook_id, count(*) over () as tenants
        from hop where exists (
            select from webhook_work w
            where w.tenant_id = hop.tenant_id and w.due_at <= now()
              and (w.leased_until is null or w.leased_until <= now()))
    )
"""
_CURSORS = rows_of(tables.webhook_work, "tenant_id", "due_at", "webhook_id")
_FROM_CURSORS = sql(
    "with waiting as (select tenant_id, due_at, webhook_id, count(*) over () as tenants from {cursors})",
    cursors=_CURSORS.source,
)
# picked: due rows of each tenant, at most a third of a batch while other tenants have webhooks due. A row that still
# has a claim is suspect: its worker died, or its settling raised. drawn: one suspect at most, so that a webhook that
# kills its worker takes no other along, and a random choice of the rest. claimed: the rows are updated by an array of
# their ids, since a join would read a long queue as a whole; due_at stays, so that no index is written.
_PICK = """, picked as (
        select c.*, waiting.tenants,
               row_number() over (partition by c.is_suspect order by c.due_at, c.webhook_id) as position
        from waiting cross join lateral (
            select w.webhook_id, w.tenant_id, w.due_at, w.claim_id is not null as is_suspect from webhook_work w
            where w.tenant_id = waiting.tenant_id and w.due_at <= now()
              and (w.leased_until is null or w.leased_until <= now())
              and (w.due_at, w.webhook_id) >= (waiting.due_at, waiting.webhook_id)
            order by w.due_at, w.webhook_id
            limit case when waiting.tenants > 1 then greatest(:batch / 3, 1) else :batch end
            for update skip locked) as c
    ), drawn as (
        select webhook_id, tenant_id, due_at, is_suspect, tenants, (not is_suspect or position = 1)
            and row_number() over (order by is_suspect and position > 1, random()) <= :batch as is_claimed
        from picked
    ), claimed as (
        update webhook_work w set attempts = w.attempts + 1, claim_id = :claim_id,
            leased_until = now() + make_interval(secs => :lease)
        where w.webhook_id = any(array(select webhook_id from drawn where is_claimed))
    )
    select webhook_id, tenant_id, due_at, is_suspect, is_claimed, tenants from drawn order by due_at, webhook_id
"""
# Losing a claim in a crash is safe: its rows are due again. The verdicts are committed later and synchronously, so
# they are never there without the claim.
_ASYNCHRONOUS = "select set_config('synchronous_commit', 'off', true)"
_CLAIM_FROM_START = single(_ASYNCHRONOUS, FROM_THE_START + _PICK)
_CLAIM_FROM_CURSORS = single(_ASYNCHRONOUS, _FROM_CURSORS + _PICK)

# Tenant, due time and webhook of the row at which the next claim of that tenant begins.
Cursor = tuple[uuid.UUID, datetime.datetime, uuid.UUID]


@dataclass(frozen=True, slots=True)
class WebhookClaim:
    """Webhooks that this worker holds for LEASE_SECONDS: `together` is one batch, each of `single` is isolated."""

    id: uuid.UUID
    together: list[uuid.UUID]
    single: list[uuid.UUID]

    def __len__(self) -> int:
        return len(self.together) + len(self.single)


@dataclass(slots=True)
class WebhookQueue:
    """The due webhooks as one worker claims them.

    A row that was settled stays in the index as a dead tuple until no transaction can see it any more: while a backup,
    a proof or an analysis reads for minutes, a claim from the start of the index passes all rows settled since. Where
    that becomes slow, most claims begin at the cursors of the one before. Rows before the cursors (those that another
    worker had locked) and other tenants' webhooks wait for the next scan of the whole queue.
    """

    # Up to how many rows the next claim takes.
    rows_max: int = BATCH_ROWS
    # Whether the last claim took all that was due; rows committed since ring, if the bell was cleared before it.
    is_drained: bool = False
    _cursors: list[Cursor] = field(default_factory=list)
    _scan_at: float = 0.0

    def claim(self, runtime: Runtime) -> WebhookClaim:
        """Claim up to `rows_max` webhooks; an empty claim means that none is due. Raise DBAPIError."""
        claim_id = new_id()
        wanted = {"batch": self.rows_max, "claim_id": claim_id, "lease": LEASE_SECONDS}
        rows, is_whole = list[Row](), False
        if self._cursors and time.monotonic() < self._scan_at:
            cursors = _CURSORS.encode(self._cursors)
            rows = runtime.database.run_single("worker", _CLAIM_FROM_CURSORS, wanted | cursors)
        if not rows:
            is_whole, began = True, time.monotonic()
            rows = runtime.database.run_single("worker", _CLAIM_FROM_START, wanted)
            ended = time.monotonic()
            self._scan_at = ended + SCAN_SHARE * (ended - began)
        claimed = [row for row in rows if row.is_claimed]
        self.is_drained = is_whole and len(claimed) == len(rows) and not _is_share_full(rows, self.rows_max)
        self.rows_max = min(2 * self.rows_max, BATCH_ROWS)
        self._cursors = _next_cursors(rows) if len(claimed) >= BATCH_ROWS // 3 else []
        if claimed:
            SETTLE_BATCH.observe(len(claimed))
        return WebhookClaim(
            claim_id,
            [row.webhook_id for row in claimed if not row.is_suspect],
            [row.webhook_id for row in claimed if row.is_suspect],
        )


def _is_share_full(rows: list[Row], rows_max: int) -> bool:
    """Return whether a tenant may have more due than its share of the claim."""
    if not rows:
        return False
    share = rows_max if rows[0].tenants == 1 else max(rows_max // 3, 1)
    return max(Counter(row.tenant_id for row in rows).values()) >= share


def _next_cursors(rows: list[Row]) -> list[Cursor]:
    """Return a cursor for each tenant: its first row that was not claimed, else its last that was."""
    cursors: dict[uuid.UUID, Row] = {}
    for row in rows:
        if (last := cursors.get(row.tenant_id)) is None or last.is_claimed:
            cursors[row.tenant_id] = row
    return [(row.tenant_id, row.due_at, row.webhook_id) for row in cursors.values()]
