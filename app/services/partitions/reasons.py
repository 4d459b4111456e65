"""Lists the partitions, and finds the reasons that keep each of them from being dropped."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

from sqlalchemy import Connection, TextClause, text

from models.partitions import PARTITIONED

# Margin after the end of a month for late deliveries and clocks that differ; both take less than a day.
SETTLE_DAYS = 1
# Rows counted per reason: one is enough to keep a partition, the number only informs.
COUNT_MAX = 1_000

_LIST = text(
    """
    select p.relname as table_name, c.relname as name, c.reltuples::bigint as row_estimate,
           pg_total_relation_size(c.oid) as bytes,
           to_date(substring(c.relname from '[0-9]{4}_[0-9]{2}$'), 'YYYY_MM')::timestamp at time zone 'UTC' as begins_at
    from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
    where p.relname = any(:tables) and p.relnamespace = 'public'::regnamespace and p.relkind = 'p'
      and c.relkind in ('r', 'p')
    order by array_position(cast(:tables as name[]), p.relname), begins_at nulls last
    """
)


@dataclass(frozen=True, slots=True)
class Partition:
    """One month of a table, in UTC; the default partition has no bounds. `row_estimate` is the planner's."""

    table: str
    name: str
    begins_at: datetime.datetime | None
    row_estimate: int
    bytes: int

    @property
    def ends_at(self) -> datetime.datetime | None:
        """The start of the next month."""
        return None if self.begins_at is None else (self.begins_at + datetime.timedelta(days=31)).replace(day=1)

    @property
    def range(self) -> dict[str, datetime.datetime | None]:
        """The parameters of queries about its rows."""
        return {"begins_at": self.begins_at, "ends_at": self.ends_at}


def within(column: str) -> str:
    """Return the condition that `column`, a time (`...at`) or a time-ordered id, is from :begins_at to :ends_at."""
    low, high = "cast(:begins_at as timestamptz)", "cast(:ends_at as timestamptz)"
    if not column.endswith("at"):
        low, high = f"first_id({low})", f"first_id({high})"
    return f"{column} >= {low} and {column} < {high}"


# Open work about rows of the month, by table, and how it is called. Audit rows are sealed as they are written.
_WAITING = {
    "payment_webhooks": (f"from webhook_work w where {within('w.webhook_id')}", "webhooks are not settled"),
    "notifications": (f"from notification_work w where {within('w.notification_id')}", "notifications have no number"),
}
_NOTHING_WAITS = ("from webhook_work where false", "")
_REASONS = Template(
    """
    select (select count(*) from (select $waiting limit $most) as w) as waiting,
           (select count(*) from (select from dead_letters d where d.state = 'open' and ($webhook
                or exists (select from $table x where x.tenant_id = d.tenant_id and x.payment_id = d.payment_id
                           and $range)) limit $most) as d) as open_cases,
           (select count(*) from (select from wallet_temp_logs l where l.state = 'held' and l.created_at < :ends_at
                and exists (select from $table x where x.tenant_id = l.tenant_id and x.payment_id = l.payment_id
                            and $range) limit $most) as l) as open_payments,
           (select count(*) from (select from tenants t left join verification_places p on p.tenant_id = t.id
                where t.created_at < :ends_at and (p.webhooks_until is null or p.webhooks_until < :ends_at)
                limit $most) as t) as unproved_tenants
    """
)


@dataclass(frozen=True, slots=True)
class Reasons:
    """The reasons to keep a partition: `why` in words, empty where it may be dropped."""

    open_cases: int
    why: tuple[str, ...]


def list_partitions(connection: Connection) -> list[Partition]:
    """Return all partitions, table by table, the oldest first and the default one last."""
    rows = connection.execute(_LIST, {"tables": list(PARTITIONED)}).all()
    return [
        Partition(
            row.table_name,
            row.name,
            row.begins_at and row.begins_at.astimezone(datetime.UTC),
            # The planner has -1 for a table that was never analysed.
            max(row.row_estimate, 0),
            row.bytes,
        )
        for row in rows
    ]


def _reasons_query(table: str) -> TextClause:
    webhook = within("d.webhook_id") if table == "payment_webhooks" else "false"
    key = within("x.at" if table == "audit_logs" else "x.id")
    waiting, _ = _WAITING.get(table, _NOTHING_WAITS)
    parts = {"waiting": waiting, "webhook": webhook, "range": key, "most": str(COUNT_MAX)}
    return text(_REASONS.substitute(parts, table=table))


_QUERIES = {table: _reasons_query(table) for table in PARTITIONED}


def find_reasons(connection: Connection, partition: Partition, older: Sequence[Partition] = ()) -> Reasons:
    """Return the reasons to keep a partition that show without reading it; `older` are the partitions before it.

    Whether rows are missing is checked when it is dropped.
    """
    if partition.ends_at is None:
        return Reasons(0, ("it is the default partition",))
    if partition.ends_at + datetime.timedelta(days=SETTLE_DAYS) > datetime.datetime.now(datetime.UTC):
        return Reasons(0, ("its month is not over",))
    row = connection.execute(_QUERIES[partition.table], partition.range).one()
    counts = {
        _WAITING.get(partition.table, _NOTHING_WAITS)[1]: row.waiting,
        "dead letters are open": row.open_cases,
        "payments are open": row.open_payments,
        "tenants' books are not proved since (sluice verify)": row.unproved_tenants,
    }
    why = [f"{'more than ' * (count == COUNT_MAX)}{count} {noun}" for noun, count in counts.items() if count]
    why += [f"{older[0].name} is older and goes first"] if older else []
    return Reasons(row.open_cases, tuple(why))
