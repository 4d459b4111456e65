"""Checks of dropped partitions: which rows may be missing, and that the chain of seals records each drop."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, RowMapping, text

from app.core.audit_seal import FIRST_SHA256
from app.services.partitions.record import DETAIL, HASHED, hash_record
from app.services.verification.checks import Violation, fill, read_checks
from models.partitions import PARTITIONED

# A tenant's rows of a table from before this time may be missing: partitions are dropped from the oldest on.
_SINCE = (
    "coalesce((select max(g.ends_at) from dropped_partitions g"
    " where g.tenant_id = $tenant and g.table_name = '{table}'), '-infinity')"
)
AUDIT_SINCE = _SINCE.format(table="audit_logs")
NOTIFICATIONS_SINCE = _SINCE.format(table="notifications")
# Whether a row was dropped, for tables partitioned by id.
DROPPED = (
    "exists (select from dropped_partitions g where g.tenant_id = $tenant and g.table_name = '$table'"
    " and $id >= first_id(g.begins_at) and $id < first_id(g.ends_at))"
)
# Whether the rows of a seal `s` were dropped. Rows and seal have the same time, but for chain 0: its seals have rows of
# one month and of several times, and the record names them.
IS_DROPPED_SEAL = (
    "exists (select from dropped_partitions g where g.tenant_id = s.tenant_id and g.table_name = 'audit_logs'"
    " and case when s.chain = 0 then s.number between g.first_seal and g.last_seal and s.number <> all(g.kept_seals)"
    " else s.sealed_at >= g.begins_at and s.sealed_at < g.ends_at end)"
)

# Each takes `ids`, the tenants to check, and `is_full`: an incremental proof does not count the same seals every time.
DROPS = read_checks("""
    -- I11: a partition that is recorded as dropped is gone as a whole
    select format('tenant %s, %s from %s', g.tenant_id, g.table_name, g.begins_at::date) as subject,
           'there are rows of that time' as detail
    from dropped_partitions g where g.tenant_id = any(cast(:ids as uuid[])) and (
        (g.table_name = 'audit_logs' and exists (select from audit_logs a
            where a.tenant_id = g.tenant_id and a.at >= g.begins_at and a.at < g.ends_at))
        or (g.table_name = 'payment_webhooks' and exists (select from payment_webhooks h
            where h.tenant_id = g.tenant_id and h.id >= first_id(g.begins_at) and h.id < first_id(g.ends_at)
              and h.received_at >= g.begins_at and h.received_at < g.ends_at))
        or (g.table_name = 'notifications' and exists (select from notifications n
            where n.tenant_id = g.tenant_id and n.id >= first_id(g.begins_at) and n.id < first_id(g.ends_at)
              and n.at >= g.begins_at and n.at < g.ends_at)))

    -- I11: the seals of dropped audit rows are as many rows as were dropped
    select format('tenant %s, audit_logs from %s', g.tenant_id, g.begins_at::date) as subject,
           format('%s rows dropped, %s in seals', g.row_count, sealed.rows) as detail
    from (
        select * from dropped_partitions g where g.tenant_id = any(cast(:ids as uuid[])) and g.table_name = 'audit_logs'
          -- dropped since the last proof began; the hour allows for clocks that differ
          and (:is_full or not exists (select from verification_places p
              where p.tenant_id = g.tenant_id and p.webhooks_until > g.audit_at + interval '1 hour'))
        offset 0) as g
    cross join lateral (
        -- seals of chain 0 are named; positions number its rows without a gap: two seals give the rows between them
        select coalesce((
                   select l.last_position - f.first_position + 1 from audit_seals f, audit_seals l
                   where f.tenant_id = g.tenant_id and f.chain = 0 and f.number = g.first_seal
                     and l.tenant_id = g.tenant_id and l.chain = 0 and l.number = g.last_seal), 0)
               - coalesce((
                   select sum(k.last_position - k.first_position + 1) from audit_seals k
                   where k.tenant_id = g.tenant_id and k.chain = 0 and k.number = any(g.kept_seals)), 0)
               + coalesce((
                   select sum(cardinality(s.audit_ids)) from audit_seals s
                   where s.tenant_id = g.tenant_id and s.chain > 0
                     and s.sealed_at >= g.begins_at and s.sealed_at < g.ends_at), 0) as rows) as sealed
    where g.row_count <> sealed.rows
""")

_RECORDED = "each drop is recorded by an audit row in the chain of seals, and chained to the one before"
_RECORDS = text(
    fill(
        """
        select d.table_name, d.begins_at, d.previous_sha256, $hashed,
               -- whether the audit row has the content of the record
               exists (select from audit_logs a where a.id = d.audit_id and a.at = d.audit_at
                       and a.tenant_id = d.tenant_id and a.actor = d.actor and a.kind = 'partition_dropped'
                       and a.payment_id is null and a.payment_version is null and a.detail = $detail) as is_recorded,
               -- whether the audit row is in a seal
               exists (select from audit_seals s where s.tenant_id = d.tenant_id and s.chain > 0
                       and s.sealed_at = d.audit_at and d.audit_id = any(s.audit_ids))
               or exists (select from audit_seals s where s.tenant_id = d.tenant_id and s.chain = 0
                          and s.last_audit_id >= d.audit_id and s.first_audit_id <= d.audit_id
                          and d.audit_id = any(s.audit_ids)) as is_chained
        from dropped_partitions d where d.tenant_id = any(cast(:ids as uuid[])) order by d.tenant_id, d.audit_id
        """,
        hashed=HASHED,
        detail=DETAIL,
    )
)
# pg_inherits is read in the snapshot, to_regclass in the present catalogue.
_IS_BEHIND = text(
    "select exists (select from pg_inherits i join pg_class p on p.oid = i.inhparent"
    " join pg_class c on c.oid = i.inhrelid"
    " where p.relname = any(:tables) and to_regclass(format('public.%I', c.relname)) is null)"
)


def is_behind_drop(connection: Connection) -> bool:
    """Return whether a partition was dropped after the snapshot of `connection` was taken.

    The table is gone for older snapshots too, but they do not see the record of the drop.
    """
    return bool(connection.execute(_IS_BEHIND, {"tables": list(PARTITIONED)}).scalar_one())


def check_records(connection: Connection, tenant_ids: Sequence[uuid.UUID]) -> list[Violation]:
    """Check that each tenant's drops are chained, and that the audit row of the last one matches its record.

    The audit rows of earlier drops may have been dropped themselves; the chain of hashes covers them.
    """
    rows = connection.execute(_RECORDS, {"ids": list(tenant_ids)}).mappings().all()
    return [
        violation for _, group in groupby(rows, key=itemgetter("tenant_id")) for violation in _check_chain(list(group))
    ]


def _check_chain(rows: list[RowMapping]) -> Iterator[Violation]:
    before = FIRST_SHA256
    for row in rows:
        wrong = []
        if bytes(row["previous_sha256"]) != before:
            wrong.append("is not chained to the one before")
        if row is rows[-1] and not row["is_recorded"]:
            wrong.append(f"audit row {row['audit_id']} does not match it")
        if not row["is_chained"]:
            wrong.append("is in no seal")
        if wrong:
            name = f"tenant {row['tenant_id']}, {row['table_name']} from {row['begins_at']:%Y-%m-%d}"
            yield Violation("I11", _RECORDED, name, ", ".join(wrong))
        before = hash_record(row)
