"""The meter counts what is sent, and the table is held in both directions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from sqlalchemy import text

from app.runtime.runtime import Runtime
from models import buffer, prepared, read
from models.database import single
from testbed.servers import Databases
from tests.integration.costs.limits import LIMITS, check
from tests.integration.costs.meter import Cost, Meter, least, open_meter

SAY = prepared("select ';' || cast(:word as text) as said")
LATER = prepared("select set_config('sluice.word', :word, true)")
SINGLE = single("select cast(:word as text) as said")


@pytest.fixture
def meter(runtime: Runtime, databases: Databases) -> Iterator[Meter]:
    """Provide a meter on an empty database."""
    with open_meter(runtime, databases) as opened:
        yield opened


def test_messages_statements_and_commits_are_counted(meter: Meter) -> None:
    database = meter.runtime.database

    def talk() -> None:
        with database.transaction("worker", by_keys="few") as connection:
            buffer(connection, LATER, {"word": "it's; \\"})
            # begin, the role, what was buffered, and this.
            assert read(connection, SAY, {"word": "commit; 'begin"})[0].said == ";commit; 'begin"
            connection.execute(text("select 1; -- it's one; not two\nselect 2"))
        database.run_single("worker", SINGLE, {"word": ";"})

    talk()
    cost = meter.measure(talk)
    assert (cost.messages, cost.statements, cost.commits) == (4, 4 + 2 + 1 + 2, 2)


def test_only_the_log_of_its_own_session_is_counted(meter: Meter) -> None:
    def write(meter: Meter) -> None:
        with meter.runtime.database.transaction("worker") as connection:
            connection.execute(text("select pg_current_xact_id()"))

    assert least([meter.measure(lambda: write(meter)) for _ in range(3)]).records == 1
    elsewhere = meter.measure(lambda: meter.databases.rows("create table one_more as select generate_series(1, 9)"))
    assert elsewhere == Cost(0, 0, 0, 0, 0)


def test_a_transaction_that_is_rolled_back_is_no_commit(meter: Meter) -> None:
    def fail() -> None:
        with contextlib.suppress(LookupError), meter.runtime.database.transaction("worker") as connection:
            connection.execute(text("select 1"))
            raise LookupError

    assert meter.measure(fail).commits == 0


@pytest.mark.parametrize("operation", LIMITS)
def test_the_table_is_held_in_both_directions(operation: str) -> None:
    limit = LIMITS[operation]
    held = Cost(
        limit.messages,
        limit.statements,
        limit.commits,
        round(limit.records * limit.payments),
        limit.wal_bytes * limit.payments,
    )
    check(operation, held)
    for field in fields(Cost):
        # Of messages, statements and commits there is one more; of the log a record a payment, and a tenth.
        more = {"records": limit.payments, "wal_bytes": held.wal_bytes // 10}.get(field.name, 1)
        for change in (more, -more):
            with pytest.raises(AssertionError, match="changed"):
                check(operation, replace(held, **{field.name: getattr(held, field.name) + change}))
