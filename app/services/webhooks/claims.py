"""Claims of due webhooks: which of them this worker settles next."""

from __future__ import annotations

import datetime
import time
import uuid
from dataclasses import dataclass, field

from app.runtime.metrics import SETTLE_BATCH
from app.runtime.runtime import Runtime
from models import Row, new_id, single
from models.array_params import encode_rows, row_set

# Measured: 200 rows take a sixth longer for each, 1,000 save a twentieth more and hold their locks twice as long.
BATCH_ROWS = 500
# As long as Celery lets a task run: a killed worker's webhooks are free again when it surely is gone.
LEASE_SECONDS = 30
# A look at the whole queue comes at the earliest after so many times what the last one took.
LOOK_SHARE = 10

# The recursive part hops from tenant to tenant in the index, so its cost is by tenant, not by row.
_LOOK = """
    with recursive hop as (
        (select tenant_id from webhook_work order by tenant_id limit 1)
        union all
        select (select w.tenant_id from webhook_work w where w.tenant_id > hop.tenant_id order by w.tenant_id limit 1)
        from hop where hop.tenant_id is not null
    ), waiting as (
        select hop.tenant_id, timestamptz '-infinity' as due_at,
               uuid '00000000-0000-0000-0000-000000000000' as webhook_id, count(*) over () as tenants
        from hop where exists (select from webhook_work w where w.tenant_id = hop.tenant_id and w.due_at <= now())
    )
"""
_PLACE_COLUMNS = {"tenant_id": "uuid", "due_at": "timestamptz", "webhook_id": "uuid"}
_GO_ON = f"""
    with waiting as (
        select tenant_id, due_at, webhook_id, count(*) over () as tenants from {row_set(_PLACE_COLUMNS)}
    )
"""  # noqa: S608  # constants
# A tenant gets at most a third of a batch while others have webhooks due. A row that still has a claim is suspect:
# whoever held it died over it, or it raised. Of those a claim takes one, so that a webhook that kills its worker takes
# no other along. The rows are updated by an array of their ids: joined, a long queue would be read as a whole.
_PICK = """, picked as (
        select c.*, row_number() over (partition by c.is_suspect order by c.due_at, c.webhook_id) as place
        from waiting cross join lateral (
            select w.webhook_id, w.tenant_id, w.due_at, w.claim_id is not null as is_suspect from webhook_work w
            where w.tenant_id = waiting.tenant_id and w.due_at <= now()
              and (w.due_at, w.webhook_id) >= (waiting.due_at, waiting.webhook_id)
            order by w.due_at, w.webhook_id
            limit case when waiting.tenants > 1 then greatest(:batch / 3, 1) else :batch end
            for update skip locked) as c
    ), drawn as (
        select webhook_id, tenant_id, due_at, is_suspect, (not is_suspect or place = 1)
            and row_number() over (order by is_suspect and place > 1, random()) <= :batch as is_claimed
        from picked
    ), claimed as (
        update webhook_work w set attempts = w.attempts + 1, claim_id = :claim_id,
            due_at = now() + make_interval(secs => :lease)
        where w.webhook_id = any(array(select webhook_id from drawn where is_claimed))
    )
    select webhook_id, tenant_id, due_at, is_suspect, is_claimed from drawn order by due_at, webhook_id
"""
# That a claim is forgotten when the database crashes harms nothing: its rows are due again. What they were settled to
# is written later and waits for the disk, so that it is never there without the claim.
_WITHOUT_DISK = "select set_config('synchronous_commit', 'off', true)"
_CLAIM, _CLAIM_ON = single(_WITHOUT_DISK, _LOOK + _PICK), single(_WITHOUT_DISK, _GO_ON + _PICK)

# Tenant, due time, webhook.
Place = tuple[uuid.UUID, datetime.datetime, uuid.UUID]


@dataclass(frozen=True, slots=True)
class Claim:
    """Webhooks that this worker has for LEASE_SECONDS: to be settled together, and suspects to be settled alone."""

    id: uuid.UUID
    together: list[uuid.UUID]
    single: list[uuid.UUID]

    def __len__(self) -> int:
        return len(self.together) + len(self.single)


@dataclass(slots=True)
class WebhookQueue:
    """The due webhooks as one worker goes through them.

    A row that was claimed and settled stays in the index until no transaction can see it any more: while a backup, a
    proof or an analysis reads for minutes, that is all rows since it began, and a claim from the beginning of the index
    passes them all. So where such a look gets dear, most claims go on where the one before them ended. What lies
    before that place (what another worker had locked), and other tenants' webhooks, wait for the next look.
    """

    _places: list[Place] = field(default_factory=list)
    _look_again_at: float = 0.0

    def claim(self, runtime: Runtime) -> Claim:
        """Claim up to BATCH_ROWS webhooks; an empty claim says that none is due. Raise DBAPIError."""
        claim_id = new_id()
        wanted = {"batch": BATCH_ROWS, "claim_id": claim_id, "lease": LEASE_SECONDS}
        rows: list[Row] = []
        if self._places and time.monotonic() < self._look_again_at:
            known = encode_rows(_PLACE_COLUMNS, self._places)
            rows = runtime.database.run_single("worker", _CLAIM_ON, wanted | known)
        if not rows:
            began = time.monotonic()
            rows = runtime.database.run_single("worker", _CLAIM, wanted)
            ended = time.monotonic()
            self._look_again_at = ended + LOOK_SHARE * (ended - began)
        claimed = [row for row in rows if row.is_claimed]
        self._places = _places_after(rows) if len(claimed) >= BATCH_ROWS // 3 else []
        if claimed:
            SETTLE_BATCH.observe(len(claimed))
        return Claim(
            claim_id,
            [row.webhook_id for row in claimed if not row.is_suspect],
            [row.webhook_id for row in claimed if row.is_suspect],
        )


def _places_after(rows: list[Row]) -> list[Place]:
    """Return where each tenant's webhooks go on: at the first that was left out, else at the last that was taken."""
    places: dict[uuid.UUID, Row] = {}
    for row in rows:
        if (last := places.get(row.tenant_id)) is None or last.is_claimed:
            places[row.tenant_id] = row
    return [(row.tenant_id, row.due_at, row.webhook_id) for row in places.values()]
