"""A statement that is a transaction of its own acts as its role, within its limits, and leaves nothing behind."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.runtime.runtime import Runtime
from models.database import STATEMENT_TIMEOUT_MS, single
from testbed.shop import Shop

_WHO = "select current_user::text as role, current_setting('app.tenant') as tenant"


def test_a_single_statement_acts_as_its_role_and_tenant(runtime: Runtime, tenant: Shop) -> None:
    (row,) = runtime.database.run_single("web", single(_WHO), {}, tenant.tenant_id)
    assert (row.role, row.tenant) == ("sluice_web", str(tenant.tenant_id))


def test_the_role_ends_with_the_statement(runtime: Runtime, tenant: Shop) -> None:
    database = runtime.database
    database.run_single("worker", single("select 1"), {}, tenant.tenant_id)
    with database.engine.connect() as connection:
        role, limit = connection.execute(text("select current_user, current_setting('statement_timeout')")).one()
        assert role not in ("sluice_worker", "sluice_web")
        assert limit == "0"
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("select count(*) from tenants"))


def test_a_single_statement_is_committed(runtime: Runtime) -> None:
    sql = "insert into heartbeats (name, at) values (:name, now()) returning name"
    runtime.database.run_single("worker", single(sql), {"name": "alone"})
    assert runtime.database.run_single("worker", single("select name from heartbeats where name = 'alone'"), {})


def test_a_statement_that_fails_leaves_nothing(runtime: Runtime) -> None:
    sql = "with w as (insert into heartbeats (name, at) values ('failed', now()) returning 1) select 1 / 0 from w"
    with pytest.raises(DBAPIError, match="division by zero"):
        runtime.database.run_single("worker", single(sql), {})
    assert not runtime.database.run_single("worker", single("select name from heartbeats where name = 'failed'"), {})


def test_a_single_statement_has_its_roles_time_limit(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATEMENT_TIMEOUT_MS, "door", 100)
    with pytest.raises(OperationalError, match="statement timeout"):
        runtime.database.run_single("door", single("select pg_sleep(30)"), {})


def test_a_transaction_after_a_single_statement_is_rolled_back_as_ever(runtime: Runtime) -> None:
    runtime.database.run_single("worker", single("select 1"), {})
    with contextlib.suppress(RuntimeError), runtime.database.transaction("worker") as connection:
        connection.execute(text("insert into heartbeats (name, at) values ('undone', now())"))
        raise RuntimeError
    assert not runtime.database.run_single("worker", single("select name from heartbeats where name = 'undone'"), {})
