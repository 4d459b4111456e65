"""Months of a database: which partitions there are, what lies in them, and payments of some months ago."""

from __future__ import annotations

import uuid

from app.services.partitions.dropping import Drop, drop_before
from models.partitions import PARTITIONED
from testbed.servers import Databases
from testbed.shop import Shop
from tests.support import books
from tests.support.aging import age, month_ago, prove_books

ACTOR = "operator:test"


def month_name(table: str, ago: int) -> str:
    """Return the partition of the month so many before this one."""
    return f"{table}_{month_ago(ago):%Y_%m}"


def names(databases: Databases) -> set[str]:
    """All partitions."""
    rows = databases.rows(
        "select inhrelid::regclass::text as name from pg_inherits join pg_class p on p.oid = inhparent"
        " where p.relkind = 'p'"
    )
    return {row["name"] for row in rows}


def homes(databases: Databases, table: str) -> dict[str, int]:
    """How many rows lie in which partition."""
    assert table in PARTITIONED
    rows = databases.rows(f"select tableoid::regclass::text as name, count(*) as total from {table} group by 1")
    return {row["name"]: row["total"] for row in rows}


def pay(shop: Shop, user_id: str = "ann") -> uuid.UUID:
    """One deposit through to the wallet; returns the payment's id."""
    payment = shop.deposit(user_id=user_id)
    books.complete(shop, payment)
    books.settle(shop.runtime)
    return payment.id


def pay_for_months(databases: Databases, shop: Shop) -> Shop:
    """Two paid payments two months ago, two a month ago and one today, sealed and proved; returns the shop."""
    for months in (2, 1):
        pay(shop)
        pay(shop, "bob")
        age(databases, months)
    pay(shop)
    prove_books(databases)
    return shop


def drop(databases: Databases, months: int = 0, is_dry_run: bool = False) -> dict[str, Drop]:
    """Drop all that lies before the month so many before this one."""
    before = month_ago(months).replace(day=1, hour=0)
    return {done.partition.name: done for done in drop_before(databases.owner_database_url, before, ACTOR, is_dry_run)}
