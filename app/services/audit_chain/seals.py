"""Seals: every audit row is taken up into its tenant's chain, so that a change, a gap or a cut can be found.

A row of `audit_work` stands for each audit row that is in no seal yet. It is committed with the audit row and goes
with the commit of the seal, so nothing is passed over and nothing is sealed twice, whatever the order of commits.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, RowMapping, text

from app.core.audit_seal import AUDIT_COLUMNS, FIRST_SHA256, Seal, hash_row, hash_rows, mark_rows
from app.runtime.runtime import Runtime
from app.services.audit_chain import heads as seal_heads
from app.services.audit_chain.heads import Head
from app.services.records import alerts, database_trouble
from app.services.records.alerts import AlertRow

log = structlog.get_logger(__name__)

# One seal's worth: some milliseconds to hash, and small enough to read again in one piece.
SEAL_ROWS_MAX = 1_000
# One look's worth per tenant: bounded, so that a backlog of one does not keep the others waiting.
SEALS_MAX = 100

# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x7365616C

# Every column as the canonical form has it; `at` is exact, since extract gives a numeric.
AUDIT_TEXT = (
    "a.id, a.tenant_id::text as tenant_id, (extract(epoch from a.at) * 1000000)::bigint as at, a.actor, a.kind,"
    " a.payment_id::text as payment_id, a.payment_version, a.detail::text as detail"
)
SEAL_COLUMNS = (
    "number, first_position, last_position, audit_ids, first_audit_id, last_audit_id, row_marks, rows_sha256,"
    " previous_sha256, seal_sha256, (extract(epoch from sealed_at) * 1000000)::bigint as sealed_at"
)

# A seal is of one month: so a dropped partition takes all rows of a seal along, or none. The oldest are read in the
# index's order and then kept to the month, so that it costs nothing how many more wait.
_TAKE = text(
    f"""
    with oldest as materialized (
        select audit_id, date_trunc('month', audit_at at time zone 'UTC') as month from audit_work
        where tenant_id = :tenant_id and audit_id > :after order by audit_id limit :rows
    ), gone as (
        delete from audit_work where tenant_id = :tenant_id and audit_id = any(array(
            select audit_id from oldest where month = (select month from oldest limit 1)))
        returning audit_id, audit_at
    )
    select {AUDIT_TEXT} from audit_logs a join gone on gone.audit_id = a.id and gone.audit_at = a.at order by a.id
    """  # noqa: S608  # constants only  # nosec B608
)
_LAST = text(
    "select number, last_position, seal_sha256, (extract(epoch from clock_timestamp()) * 1000000)::bigint as now"
    " from (select) as one left join lateral (select number, last_position, seal_sha256 from audit_seals"
    " where tenant_id = :tenant_id order by number desc limit 1) as s on true"
)
_INSERT = text(
    """
    insert into audit_seals (tenant_id, number, first_position, last_position, audit_ids, first_audit_id,
                             last_audit_id, row_marks, rows_sha256, previous_sha256, seal_sha256, sealed_at)
    values (:tenant_id, :number, :first_position, :last_position, :audit_ids, :first_audit_id, :last_audit_id,
            :row_marks, :rows_sha256, :previous_sha256, :seal_sha256,
            timestamptz 'epoch' + :sealed_at * interval '1 microsecond')
    """
)


def hash_audit_rows(rows: Sequence[RowMapping]) -> list[bytes]:
    """Return the hash of each row of `AUDIT_TEXT`, in order."""
    return [hash_row([row[column] for column in AUDIT_COLUMNS]) for row in rows]


def seal_due(runtime: Runtime) -> int:
    """Seal the audit rows that wait, tenant by tenant; return how many it took up.

    A tenant that cannot be sealed waits for the next time; unless it is trouble of the database, the error is raised
    once the others had their turn.
    """
    with runtime.database.transaction("worker") as connection:
        waiting = text("select id from tenants t where exists (select from audit_work w where w.tenant_id = t.id)")
        tenant_ids = connection.execute(waiting).scalars().all()
    sealed, heads = 0, []
    failure: Exception | None = None
    for tenant_id in tenant_ids:
        try:
            rows, head = seal_tenant(runtime, tenant_id)
        except Exception as error:  # one tenant's rows do not keep the seals from the others
            rows, head = 0, None
            trouble = database_trouble.note(runtime, "sweep", error)
            if trouble is None:
                log.exception("not_sealed", tenant_id=str(tenant_id))
                failure = failure or error
            if trouble == "connection":
                break
        sealed += rows
        heads += [head] if head else []
    if heads and runtime.settings.seal_head_path:
        _keep_heads(runtime, heads)
    if failure is not None:
        raise failure
    return sealed


def seal_tenant(runtime: Runtime, tenant_id: uuid.UUID) -> tuple[int, Head | None]:
    """Seal one tenant's waiting rows; return how many, and the chain's head where it has grown.

    One sealer per tenant at a time: who finds another at work leaves the rows to that one and to the next look.
    """
    sealed, head, after = 0, None, 0
    for _ in range(SEALS_MAX):
        with runtime.database.transaction("worker", by_keys="many") as connection:
            if not _is_only_sealer(connection, tenant_id):
                break
            wanted = {"tenant_id": tenant_id, "after": after, "rows": SEAL_ROWS_MAX}
            rows = connection.execute(_TAKE, wanted).mappings().all()
            if rows:
                head = _insert(connection, tenant_id, rows)
                # What was taken lies dead before the rest; what is committed late, with a smaller id, is for next time.
                after = rows[-1]["id"]
        sealed += len(rows)
        if len(rows) < SEAL_ROWS_MAX:
            break
    return sealed, head


def _is_only_sealer(connection: Connection, tenant_id: uuid.UUID) -> bool:
    return bool(
        connection.execute(
            text("select pg_try_advisory_xact_lock(:space, hashtext(:tenant))"),
            {"space": _LOCK_SPACE, "tenant": str(tenant_id)},
        ).scalar_one()
    )


def _insert(connection: Connection, tenant_id: uuid.UUID, rows: Sequence[RowMapping]) -> Head:
    last = connection.execute(_LAST, {"tenant_id": tenant_id}).one()
    hashes = hash_audit_rows(rows)
    seal = Seal(
        tenant_id=str(tenant_id),
        number=(last.number or 0) + 1,
        first_position=(last.last_position or 0) + 1,
        audit_ids=tuple(row["id"] for row in rows),
        rows_sha256=hash_rows(hashes),
        previous_sha256=bytes(last.seal_sha256) if last.seal_sha256 else FIRST_SHA256,
        sealed_at=last.now,
    )
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "number": seal.number,
        "first_position": seal.first_position,
        "last_position": seal.last_position,
        "audit_ids": list(seal.audit_ids),
        "first_audit_id": seal.audit_ids[0],
        "last_audit_id": seal.audit_ids[-1],
        "row_marks": mark_rows(hashes),
        "rows_sha256": seal.rows_sha256,
        "previous_sha256": seal.previous_sha256,
        "seal_sha256": seal.sha256,
        "sealed_at": seal.sealed_at,
    }
    connection.execute(_INSERT, values)
    return Head(str(tenant_id), seal.number, seal.last_position, seal.sha256.hex())


def _keep_heads(runtime: Runtime, heads: list[Head]) -> None:
    path = runtime.settings.required("seal_head_path")
    try:
        broken = seal_heads.write_heads(runtime.database, path, heads)
    except OSError as error:
        # The seals themselves are committed; the next ones are written with all that this one would have said.
        log.warning("seal_head_not_written", path=path, error=str(error))
        return
    with runtime.database.transaction("worker") as connection:
        alerts.write(
            connection,
            [
                AlertRow("books_broken", uuid.UUID(head.tenant_id), {"invariants": ["I12"], "seal": head.number})
                for head in broken
            ],
        )
