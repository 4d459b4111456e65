"""A settling process has its statements prepared and planned before its first webhook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.runtime.runtime import Runtime
from app.services.webhooks import preparation, settle
from models import Database
from testbed.servers import Databases
from testbed.shop import make_shop

_PREPARED = "select name, generic_plans from pg_prepared_statements where from_sql"


@pytest.fixture
def fresh(databases: Databases, runtime: Runtime) -> Iterator[Runtime]:
    """Provide a runtime as a process has it that has just started, with one connection to come."""
    database = Database(databases.database_url, 1)
    yield replace(runtime, database=database)
    database.engine.dispose()


def list_prepared(runtime: Runtime) -> dict[str, int]:
    """Return the statements that the runtime's connection knows, with how often each was planned."""
    with runtime.database.transaction("worker") as connection:
        return {row.name: row.generic_plans for row in connection.exec_driver_sql(_PREPARED)}


def test_the_first_webhook_finds_everything_prepared(fresh: Runtime, runtime: Runtime) -> None:
    shop = make_shop(runtime)
    # The first opens the user's wallet and the clearing wallet, which every later one finds.
    for _ in range(2):
        payment = shop.deposit()
        shop.deliver(shop.body(payment))
        preparation.prepare(fresh)
        known = list_prepared(fresh)
        settle.settle_due(fresh)
        assert shop.payment(payment.id).status == "completed"
        assert list_prepared(fresh).keys() <= known.keys()
        fresh.database.engine.dispose()


def test_what_is_prepared_is_planned_and_not_run(databases: Databases, fresh: Runtime, runtime: Runtime) -> None:
    shop = make_shop(runtime)
    payment = shop.deposit()
    shop.deliver(shop.body(payment))
    preparation.prepare(fresh)
    assert databases.rows("select claim_id, attempts from webhook_work") == [{"claim_id": None, "attempts": 0}]
    assert all(list_prepared(fresh).values())


def test_a_database_that_is_away_is_no_error(runtime: Runtime) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/none", 1)
    preparation.prepare(replace(runtime, database=away))
    away.engine.dispose()
