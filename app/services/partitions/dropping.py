"""Drops whole partitions that nothing needs any more, each with a record in the audit."""

from __future__ import annotations

import contextlib
import datetime
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Template

from sqlalchemy import Connection, RowMapping, TextClause, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from app.core.audit_seal import FIRST_SHA256
from app.core.errors import RequestRejected
from app.services.partitions.reasons import Partition, find_reasons, list_partitions, within
from app.services.partitions.record import DETAIL, HASHED, KIND, hash_record
from models.database_urls import psycopg2_url

# Others queue behind a waiting lock: at most as long as a request may wait before it is answered with 503.
LOCK_MILLISECONDS = 500
# Most long reads end within ten seconds; for longer ones the operator tries again later.
LOCK_TRIES = 10
TRY_SECONDS = 1.0
# Counting the rows of a large month takes minutes.
STATEMENT_MINUTES = 30

_RANGES = {
    "h": within("h.id"),
    "k": within("k.webhook_id"),
    "n": within("n.id"),
    "d": within("d.notification_id"),
    "a": within("a.at"),
    "s": within("s.sealed_at"),
}
# Per tenant: rows held, and rows referenced by another table that should be equal. A difference means that rows are
# missing or were added by another program.
_COUNT_PAIRS = Template(
    """
    select tenant_id, sum(held) as held, sum(rows) as rows, sum(referenced) as referenced,
           null::bigint as first_seal, null::bigint as last_seal, '{}'::bigint[] as kept_seals, true as is_proved
    from ($held union all $referenced) as c group by tenant_id order by tenant_id
    """
)
_COUNTS = {
    "payment_webhooks": _COUNT_PAIRS.substitute(
        held="select h.tenant_id, count(*) filter (where h.conflicts_with is null) as held, count(*) as rows,"
        " 0 as referenced from payment_webhooks h where $h group by h.tenant_id",
        referenced="select k.tenant_id, 0, 0, count(*) from webhook_keys k where $k group by k.tenant_id",
    ),
    "notifications": _COUNT_PAIRS.substitute(
        held="select n.tenant_id, count(*) as held, count(*) as rows, 0 as referenced from notifications n"
        " where $n group by n.tenant_id",
        referenced="select d.tenant_id, 0, 0, count(*) from notification_numbers d where $d group by d.tenant_id",
    ),
    # Seals have the time of their rows. Those of chain 0 belong to the month of their first row, and seals of other
    # months between the first and the last of them are kept.
    "audit_logs": """
        with held as (
            select a.tenant_id, count(*) as rows from audit_logs a where $a group by 1
        ), seals as (
            select s.tenant_id, s.chain, s.number, cardinality(s.audit_ids) as rows from audit_seals s
            where s.chain > 0 and $s
            union all
            select s.tenant_id, s.chain, s.number, cardinality(s.audit_ids)
            from audit_logs a join audit_seals s
              on s.tenant_id = a.tenant_id and s.chain = 0 and s.first_audit_id = a.id
            where $a
        ), sealed as (
            select tenant_id, sum(rows) as rows, min(number) filter (where chain = 0) as first_seal,
                   max(number) filter (where chain = 0) as last_seal
            from seals group by tenant_id
        )
        select h.tenant_id, h.rows as held, h.rows, coalesce(t.rows, 0) as referenced, t.first_seal, t.last_seal,
               array(select k.number from audit_seals k where k.tenant_id = h.tenant_id and k.chain = 0
                     and k.number between t.first_seal and t.last_seal
                     and not exists (select from seals s
                         where s.tenant_id = k.tenant_id and s.chain = 0 and s.number = k.number)
                     order by k.number) as kept_seals,
               not exists (select from seals s left join verification_chains p using (tenant_id, chain)
                   where s.tenant_id = h.tenant_id and s.number > coalesce(p.seal_number, 0)) as is_proved
        from held h left join sealed t using (tenant_id) order by h.tenant_id
        """,
}
_REFERENCES = {"payment_webhooks": "deliveries answered", "notifications": "numbers", "audit_logs": "rows sealed"}


def _fill(template: str) -> TextClause:
    return text(Template(template).substitute(_RANGES, hashed=HASHED, detail=DETAIL, kind=KIND))


_LAST_RECORD = _fill(
    "select $hashed from dropped_partitions d where d.tenant_id = :tenant_id order by d.audit_id desc limit 1"
)
_RECORD = _fill(
    """
    -- the values, with the types that the audit's detail needs
    with d as (
        select cast(:tenant_id as uuid) as tenant_id, cast(:actor as text) as actor,
               cast(:table_name as text) as table_name, cast(:begins_at as timestamptz) as begins_at,
               cast(:ends_at as timestamptz) as ends_at, cast(:row_count as bigint) as row_count,
               cast(:first_seal as bigint) as first_seal, cast(:last_seal as bigint) as last_seal,
               cast(:kept_seals as bigint[]) as kept_seals, cast(:previous_sha256 as bytea) as previous_sha256
    -- the audit row
    ), audited as (
        insert into audit_logs (tenant_id, actor, kind, detail) select d.tenant_id, d.actor, '$kind', $detail from d
        returning id, at
    )
    -- the record, with the audit row's key
    insert into dropped_partitions (tenant_id, audit_id, audit_at, actor, table_name, begins_at, ends_at, row_count,
                                    first_seal, last_seal, kept_seals, previous_sha256)
    select d.tenant_id, a.id, a.at, d.actor, d.table_name, d.begins_at, d.ends_at, d.row_count, d.first_seal,
           d.last_seal, d.kept_seals, d.previous_sha256
    from d, audited a
    """
)
_HELD_AFTER = _fill(
    """
    update notification_counters c set held_after = greatest(c.held_after, gone.number)
    from (select d.tenant_id, max(d.number) as number from notification_numbers d
          where $d group by d.tenant_id) as gone
    where c.tenant_id = gone.tenant_id
    """
)


@dataclass(frozen=True, slots=True)
class Drop:
    """The result for one partition, or of its dry run: `why` lists the reasons that kept it."""

    partition: Partition
    rows: int
    tenants: int
    is_dropped: bool
    why: tuple[str, ...] = ()


def drop_before(owner_url: str, before: datetime.datetime, actor: str, is_dry_run: bool = False) -> list[Drop]:
    """Drop the partitions that end at or before a moment, table by table and the oldest first, each by itself.

    The first partition of a table that must be kept ends it: all older ones are then known to be gone.
    Raise RequestRejected (409) where another one drops, or a partition stays in use for longer than some seconds,
    and sqlalchemy.exc.DBAPIError; what was dropped until then stays dropped.
    """
    done: list[Drop] = []
    with _open(owner_url) as connection:
        found = [each for each in list_partitions(connection) if each.ends_at is not None and each.ends_at <= before]
        connection.rollback()
        ended: set[str] = set()
        for partition in found:
            if partition.table not in ended:
                done.append(_drop(connection, partition, actor, is_dry_run))
                ended |= {partition.table} if done[-1].why else set()
    return done


@contextlib.contextmanager
def _open(owner_url: str) -> Iterator[Connection]:
    engine = create_engine(psycopg2_url(owner_url), poolclass=NullPool, connect_args={"application_name": "sluice"})
    with engine.connect() as connection:
        yield connection


def _drop(connection: Connection, partition: Partition, actor: str, is_dry_run: bool) -> Drop:
    with connection.begin():
        connection.execute(text(f"set local statement_timeout = '{STATEMENT_MINUTES}min'"))
        connection.execute(text(f"set local lock_timeout = {LOCK_MILLISECONDS}"))
        if not connection.execute(text("select pg_try_advisory_xact_lock(hashtext('drop_partitions'))")).scalar():
            raise RequestRejected(409, "Another process is dropping partitions.")
        # Blocks writes, not reads.
        _lock(connection, f"lock table {partition.name} in share mode", partition.name)
        why = find_reasons(connection, partition).why
        counts: Sequence[RowMapping] = ()
        if not why:
            counts = connection.execute(_fill(_COUNTS[partition.table]), partition.range).mappings().all()
            why = _differences(partition, counts)
        if not why and not is_dry_run:
            _write_and_drop(connection, partition, counts, actor)
        rows = sum(int(row["rows"]) for row in counts)
        return Drop(partition, rows, len(counts), not why and not is_dry_run, why)


def _differences(partition: Partition, counts: Sequence[RowMapping]) -> tuple[str, ...]:
    why = [
        f"tenant {row['tenant_id']}: {row['held']} rows, {row['referenced']} {_REFERENCES[partition.table]}"
        " (sluice verify --full)"
        for row in counts
        if row["held"] != row["referenced"]
    ]
    return (*why, *(f"tenant {r['tenant_id']}: not proved (sluice verify)" for r in counts if not r["is_proved"]))


def _write_and_drop(connection: Connection, partition: Partition, counts: Sequence[RowMapping], actor: str) -> None:
    for row in counts:
        values = {name: row[name] for name in ("tenant_id", "first_seal", "last_seal", "kept_seals")}
        values |= {"actor": actor, "table_name": partition.table, "row_count": int(row["rows"]), **partition.range}
        previous = _previous_sha256(connection, row["tenant_id"])
        connection.execute(_RECORD, {**values, "previous_sha256": previous})
    _lock(
        connection,
        f"lock table only {partition.table}, {partition.table}_default, {partition.name} in access exclusive mode",
        partition.table,
    )
    if partition.table == "notifications":
        connection.execute(_HELD_AFTER, partition.range)
    connection.execute(text(f"drop table {partition.name}"))


def _previous_sha256(connection: Connection, tenant_id: uuid.UUID) -> bytes:
    last = connection.execute(_LAST_RECORD, {"tenant_id": tenant_id}).mappings().first()
    return FIRST_SHA256 if last is None else hash_record(last)


def _lock(connection: Connection, statement: str, name: str) -> None:
    """Take a lock; between tries let queued transactions pass."""
    for left in reversed(range(LOCK_TRIES)):
        try:
            with connection.begin_nested():
                connection.execute(text(statement))
            return
        except OperationalError as error:
            # 55P03: lock timeout; 40P01: deadlock.
            if getattr(error.orig, "pgcode", None) not in ("55P03", "40P01"):
                raise
            if not left:
                raise RequestRejected(
                    409, f"{name} stays in use; nothing of it was dropped. Try again later."
                ) from None
        time.sleep(TRY_SECONDS)
