"""A deposit is one commit: a process that dies right before it leaves nothing, one that dies right after it, all."""

from __future__ import annotations

import dataclasses

import pytest

from app.runtime.runtime import Runtime
from testbed.servers import Databases
from testbed.shop import make_shop
from tests.scenarios.crashing import Crashed, CrashingDatabase, When

TABLES = ("payment_transactions", "wallet_temp_logs", "payment_work", "audit_logs where payment_id is not null")


@pytest.mark.parametrize(("when", "rows"), [("before", 0), ("after", 1)])
def test_a_process_dies_at_the_commit_of_a_deposit(
    databases: Databases, runtime: Runtime, when: When, rows: int
) -> None:
    database = CrashingDatabase(databases.database_url, 4)
    try:
        shop = make_shop(dataclasses.replace(runtime, database=database))
        database.arm(1, when)
        with pytest.raises(Crashed):
            shop.deposit(key="key-1")
        assert [databases.value(f"select count(*) from {table}") for table in TABLES] == [rows] * len(TABLES)
        # A retry gets the same single payment, and no request waits for the dead leader of a group.
        assert shop.deposit(key="key-1") == shop.deposit(key="key-1")
        assert [databases.value(f"select count(*) from {table}") for table in TABLES] == [1] * len(TABLES)
    finally:
        database.engine.dispose()
