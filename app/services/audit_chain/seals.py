"""Seals each audit row into its tenant's hash chain, which shows changed, missing and cut off rows.

`audit_work` has a row for each audit row that no seal covers yet. It is committed with the audit row and deleted with
the commit of the seal: each row is sealed exactly once, whatever the order of commits.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from string import Template

import structlog
from sqlalchemy import Connection, RowMapping, exists, insert, select, text

from app.core.audit_seal import AUDIT_COLUMNS, FIRST_SHA256, Seal, hash_row, hash_rows, join_prefixes
from app.runtime.runtime import Runtime
from app.services.audit_chain import heads as seal_heads
from app.services.audit_chain.heads import Head
from app.services.records import alerts, database_trouble
from app.services.records.alerts import AlertRow
from models import tables

log = structlog.get_logger(__name__)

# Rows of one seal: hashing them takes milliseconds, and a verification reads them in one query.
SEAL_ROWS_MAX = 1_000
# Seals per tenant and run: a tenant's backlog must not delay the others.
SEALS_MAX = 100

# First half of the advisory lock's key ("seal"), which no other advisory lock uses.
_LOCK_SPACE = 0x7365616C

# Every column in its canonical form; `at` is exact, since extract returns a numeric.
AUDIT_TEXT = (
    "a.id, a.tenant_id::text as tenant_id, (extract(epoch from a.at) * 1000000)::bigint as at, a.actor, a.kind,"
    " a.payment_id::text as payment_id, a.payment_version, a.detail::text as detail"
)
SEAL_COLUMNS = (
    "number, first_position, last_position, audit_ids, first_audit_id, last_audit_id, row_marks, rows_sha256,"
    " previous_sha256, seal_sha256, (extract(epoch from sealed_at) * 1000000)::bigint as sealed_at"
)

# A seal covers rows of one month, so that a dropped partition has all rows of a seal or none. The limit is applied in
# the order of the index before the month is, so that the cost does not depend on the number of waiting rows.
_TAKE = text(
    Template(
        """
        with oldest as materialized (
            select audit_id, date_trunc('month', audit_at at time zone 'UTC') as month from audit_work
            where tenant_id = :tenant_id and audit_id > :after order by audit_id limit :rows
        -- those of the first row's month leave the queue
        ), gone as (
            delete from audit_work where tenant_id = :tenant_id and audit_id = any(array(
                select audit_id from oldest where month = (select month from oldest limit 1)))
            returning audit_id, audit_at
        )
        select $columns from audit_logs a join gone on gone.audit_id = a.id and gone.audit_at = a.at order by a.id
        """
    ).substitute(columns=AUDIT_TEXT)
)
_LAST = text(
    "select number, last_position, seal_sha256, (extract(epoch from clock_timestamp()) * 1000000)::bigint as now"
    " from (select) as one left join lateral (select number, last_position, seal_sha256 from audit_seals"
    " where tenant_id = :tenant_id order by number desc limit 1) as s on true"
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def hash_audit_rows(rows: Sequence[RowMapping]) -> list[bytes]:
    """Return the hash of each row of `AUDIT_TEXT`, in order."""
    return [hash_row([row[column] for column in AUDIT_COLUMNS]) for row in rows]


def seal_due(runtime: Runtime) -> int:
    """Seal the waiting audit rows, tenant by tenant; return the number of rows sealed.

    A tenant that cannot be sealed is retried by the next run. Its error is raised after the other tenants were sealed,
    unless it is trouble of the database.
    """
    with runtime.database.transaction("worker") as connection:
        is_waiting = exists().where(tables.audit_work.c.tenant_id == tables.tenants.c.id)
        tenant_ids = connection.execute(select(tables.tenants.c.id).where(is_waiting)).scalars().all()
    sealed, heads = 0, []
    failure: Exception | None = None
    for tenant_id in tenant_ids:
        try:
            rows, head = seal_tenant(runtime, tenant_id)
        except Exception as error:  # one tenant's error must not stop the others
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
    """Seal one tenant's waiting rows; return their number, and the chain's new head where it has grown.

    One sealer per tenant at a time: if another one holds the lock, leave the rows to it and to the next run.
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
                # Skips the dead tuples of these rows. Rows committed late with a smaller id are left to the next run.
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
    connection.execute(
        insert(tables.audit_seals).values(
            tenant_id=tenant_id,
            number=seal.number,
            first_position=seal.first_position,
            last_position=seal.last_position,
            audit_ids=list(seal.audit_ids),
            first_audit_id=seal.audit_ids[0],
            last_audit_id=seal.audit_ids[-1],
            row_marks=join_prefixes(hashes),
            rows_sha256=seal.rows_sha256,
            previous_sha256=seal.previous_sha256,
            seal_sha256=seal.sha256,
            sealed_at=_EPOCH + datetime.timedelta(microseconds=seal.sealed_at),
        )
    )
    return Head(str(tenant_id), seal.number, seal.last_position, seal.sha256.hex())


def _keep_heads(runtime: Runtime, heads: list[Head]) -> None:
    path = runtime.settings.required("seal_head_path")
    try:
        broken = seal_heads.write_heads(runtime.database, path, heads)
    except OSError as error:
        # The seals are committed, and the next write of heads includes these.
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
