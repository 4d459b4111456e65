"""Lets everything that happened in a database have happened earlier: rows, times and time-ordered ids alike."""

from __future__ import annotations

import datetime
import io
import re
import uuid

import psycopg2
from psycopg2.extensions import connection as Connection

from app.services.verification import prove, record
from models.partitions import PARTITIONED
from testbed.servers import Databases

_UUID7 = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\+00\b")
# These rows keep their ids; the seals are recreated.
_STAYING = ("tenants", "api_keys", "payment_providers", "provider_secrets")
_SEALED = ("audit_seals", "dropped_partitions", "verification_chains", "verification_places", "verification_runs")
_TABLES = """
select c.relname from pg_class c where c.relkind in ('r', 'p') and not c.relispartition
  and c.relnamespace = 'public'::regnamespace and c.relname <> 'alembic_version' order by 1
"""
_STORED_COLUMNS = """
select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''
"""
# Audit rows that are in no seal get one, as if they were written now: by the trigger, on a table of their copies.
SEAL_AGAIN = """
set session_replication_role = origin;
create table audit_copies (like audit_logs);
create trigger audit_is_sealed after insert on audit_copies referencing new table as written
    for each statement execute function seal_audit_rows();
insert into audit_copies select * from audit_logs a
    where not exists (select from audit_seals s where s.tenant_id = a.tenant_id and a.id = any(s.audit_ids));
drop table audit_copies;
"""


def month_ago(months: int) -> datetime.datetime:
    """Return the middle of the month, in UTC, so many months before this one."""
    now = datetime.datetime.now(datetime.UTC)
    years, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    return datetime.datetime(years, month + 1, 15, 12, tzinfo=datetime.UTC)


def make_months(databases: Databases, months: int) -> None:
    """Make the partitions of so many past months."""
    for ago in range(1, months + 1):
        for table in PARTITIONED:
            databases.rows("select make_partition(:table, :month)", table=table, month=month_ago(ago).date())


def age(databases: Databases, months: int, is_proved: bool = True) -> None:
    """Move all that happened in the last days to the month so many before this one; seal it there, and prove it.

    Rows of earlier months stay where they are. Tenants, keys and providers keep their ids.
    """
    make_months(databases, months)
    recent = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3)
    shift = datetime.datetime.now(datetime.UTC) - month_ago(months)
    connection = psycopg2.connect(databases.superuser_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("set timezone = 'UTC'; set local session_replication_role = replica")
        staying = set()
        for table in ("tenants", "api_keys", "payment_providers"):
            cursor.execute(f"select id::text from {table}")
            staying |= {row[0] for row in cursor.fetchall()}
        # Their rows are not what they were when they were sealed.
        cursor.execute("delete from audit_seals where sealed_at > %s", (recent,))
        cursor.execute(_TABLES)
        for (table,) in cursor.fetchall():
            if table not in _SEALED:
                _rewrite(connection, table, staying if table not in _STAYING else None, shift, recent)
        for table in ("verification_chains", "verification_places", "verification_runs"):
            cursor.execute(f"delete from {table}")
        cursor.execute(SEAL_AGAIN)
    connection.close()
    if is_proved:
        prove_books(databases)


def prove_books(databases: Databases) -> None:
    """Prove the books, and keep how far."""
    with databases.open_runtime() as runtime:
        report = prove(runtime.database, "full")
        assert report.is_whole, report.as_json()
        record(runtime.database, report)


def _rewrite(
    connection: Connection,
    table: str,
    staying: set[str] | None,
    shift: datetime.timedelta,
    recent: datetime.datetime,
) -> None:
    held = io.StringIO()
    with connection.cursor() as cursor:
        cursor.execute(_STORED_COLUMNS, (table,))
        ((columns,),) = cursor.fetchall()
        cursor.copy_expert(f"copy (select {columns} from {table}) to stdout", held)
        text = held.getvalue()
        cursor.execute(f"delete from {table}")
        text = _TIME.sub(lambda found: _earlier_time(found[0], shift, recent), text)
        if staying is not None:
            text = _UUID7.sub(lambda found: _earlier_id(found[0], staying, shift, recent), text)
        cursor.copy_expert(f"copy {table} ({columns}) from stdin", io.StringIO(text))


def _earlier_time(said: str, shift: datetime.timedelta, recent: datetime.datetime) -> str:
    moment = datetime.datetime.fromisoformat(said)
    return str(moment - shift) if moment > recent else said


def _earlier_id(said: str, staying: set[str], shift: datetime.timedelta, recent: datetime.datetime) -> str:
    value = uuid.UUID(said).int
    milliseconds = value >> 80
    if said in staying or milliseconds < recent.timestamp() * 1000:
        return said
    earlier = milliseconds - int(shift.total_seconds() * 1000)
    return str(uuid.UUID(int=(earlier << 80) | (value & ((1 << 80) - 1))))
