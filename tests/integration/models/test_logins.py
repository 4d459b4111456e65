"""One login for each process type: made by a migration, a member of its roles alone, checked by the doctor."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg2
import pytest

import tasks
from app.cli.stack import open_runtime
from app.doctor import examine
from app.runtime.runtime import Runtime, open_database
from app.runtime.settings import LOGIN_VARIABLES, Settings
from app.services import verification
from app.services.audit_chain import heads
from app.services.deliveries import sending
from app.services.payments.calls import call_dispatcher, provider_trouble
from app.services.records import notifications
from app.services.upkeep import alert_delivery, alert_resolution, backlog, sweep
from app.services.webhooks import awake
from models.database_urls import parse_url
from models.logins import ALL_ROLES, LOGIN_ROLES
from models.migrations import upgrade
from testbed.servers import Databases, Servers
from testbed.shop import Shop
from tests.support.commands import Commands


def find(databases: Databases, check: str, **environment: str) -> set[tuple[str, str]]:
    """Level and detail of what the doctor finds for one check."""
    settings = Settings.from_environment(databases.environment | {"SLUICE_PROCESS": "operator"} | environment)
    with open_runtime(settings) as runtime:
        return {(f.level, f.detail) for _, f in examine(runtime, ["PostgreSQL"]) if f.check == check}


def memberships(databases: Databases, login: str) -> set[str]:
    rows = databases.rows(
        "select roleid::regrole::text as name from pg_auth_members where member = to_regrole(:l)", l=login
    )
    return {row["name"] for row in rows}


@pytest.fixture
def logins(servers: Servers, databases: Databases) -> Iterator[dict[str, str]]:
    """URLs of logins that do not exist yet, with names and passwords that must be quoted."""
    part = uuid.uuid4().hex[:8]
    names = {name: f"Log in's {name} {part}" for name in LOGIN_ROLES}
    host = databases.database_url.partition("@")[2]
    try:
        yield {name: f"postgresql://{login.replace(' ', '%20')}:p%25'w%22d@{host}" for name, login in names.items()}
    finally:
        query = "select rolname as name from pg_roles where rolname = any(:names)"
        for row in databases.rows(query, names=list(names.values())):
            databases.rows(f'drop owned by "{row["name"]}"')
            servers.administer(f'drop role "{row["name"]}"')


def test_migrating_makes_the_logins_that_are_missing(databases: Databases, logins: dict[str, str]) -> None:
    databases.rows(f"revoke connect on database {databases.name} from public")
    for _ in range(2):
        upgrade(databases.owner_database_url, databases.database_url, logins)
        for process_type, url in logins.items():
            login = parse_url(url).username or ""
            wanted = {f"sluice_{role}" for role in LOGIN_ROLES[process_type].roles}
            assert memberships(databases, f'"{login}"') == wanted
            row = databases.rows("select * from pg_authid where rolname = :login", login=login)[0]
            assert row["rolpassword"].startswith("SCRAM-SHA-256$")
            assert not any(row[right] for right in ("rolsuper", "rolinherit", "rolcreaterole", "rolbypassrls"))
            with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("select session_user")
                assert cursor.fetchall() == [(login,)]


def test_a_login_keeps_no_role_beyond_its_process_type(
    databases: Databases, logins: dict[str, str], servers: Servers
) -> None:
    upgrade(databases.owner_database_url, databases.database_url, logins)
    login = parse_url(logins["web"]).username
    databases.rows(f'set role sluice_owner; grant sluice_operator, sluice_worker to "{login}"')
    own = {LOGIN_VARIABLES[name]: url for name, url in logins.items()}
    assert any(
        level == "warn" and "sluice_operator, sluice_worker" in said for level, said in find(databases, "Roles", **own)
    )
    upgrade(databases.owner_database_url, databases.database_url, logins)
    assert memberships(databases, f'"{login}"') == {"sluice_web", "sluice_door", "sluice_clerk"}
    assert {level for level, _ in find(databases, "Roles", **own)} == {"ok"}


def test_a_login_of_two_process_types_has_the_roles_of_both(databases: Databases, logins: dict[str, str]) -> None:
    upgrade(databases.owner_database_url, None, {"settle": logins["settle"], "provider": logins["settle"]})
    assert memberships(databases, f'"{parse_url(logins["settle"]).username}"') == {"sluice_worker", "sluice_auditor"}


def test_the_command_makes_logins_from_the_environment(databases: Databases, logins: dict[str, str]) -> None:
    Commands(databases).text("migrate", DATABASE_WEB_URL=logins["web"])
    assert memberships(databases, f'"{parse_url(logins["web"]).username}"') == {
        "sluice_web",
        "sluice_door",
        "sluice_clerk",
    }


@pytest.mark.parametrize("process_type", LOGIN_ROLES)
def test_a_login_acts_as_its_own_roles_and_no_other(databases: Databases, process_type: str) -> None:
    allowed = set()
    with contextlib.closing(psycopg2.connect(databases.login_urls[process_type])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for role in (
                *ALL_ROLES,
                "owner",
                "app",
                *(f"login_{other}" for other in LOGIN_ROLES if other != process_type),
            ):
                with contextlib.suppress(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(f"set role sluice_{role}")
                    allowed.add(role)
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("set role postgres")
    assert allowed == set(LOGIN_ROLES[process_type].roles)


# What the tasks of each worker do (tasks/__init__.py): nothing of it may meet a right that its login has not.
DUTIES: dict[str, tuple[Callable[[Runtime], object], ...]] = {
    "settle": (awake.settle_awake, notifications.number_due),
    "provider": (
        *(call_dispatcher.call_due, sweep.sweep, sweep.housekeep, backlog.raise_overdue, provider_trouble.raise_alarms),
        *(alert_resolution.resolve_ended, alert_delivery.post_due, heads.keep_heads, verification.prove_due),
    ),
    "deliver": (sending.deliver_due,),
}


def test_every_duty_of_the_tasks_is_tried() -> None:
    assert {call for _, calls in tasks.TASKS.values() for call in calls} == {
        duty for duties in DUTIES.values() for duty in duties
    }


@pytest.mark.parametrize("process_type", DUTIES)
def test_a_workers_login_has_every_right_that_its_tasks_need(
    databases: Databases, tenant: Shop, process_type: str
) -> None:
    for amount in ("25.00", "1.00"):
        tenant.deliver(tenant.body(tenant.deposit(), amount=amount))
    tenant.token("ann")
    settings = Settings.from_environment(databases.environment | {"SLUICE_PROCESS": f"worker-{process_type}"})
    assert settings.database_url == databases.login_urls[process_type]
    database = open_database(settings, 2)
    runtime = replace(tenant.runtime, settings=settings, database=database)
    try:
        for duty in DUTIES[process_type]:
            duty(runtime)
    finally:
        database.engine.dispose()
    if process_type == "settle":
        assert databases.value("select count(*) from webhook_work") == 0


def test_the_doctor_warns_of_one_login_for_all(databases: Databases) -> None:
    assert {level for level, _ in find(databases, "Logins")} == {"ok"}
    ((level, said),) = find(databases, "Logins", **dict.fromkeys(LOGIN_VARIABLES.values(), ""))
    assert level == "warn"
    assert all(variable in said for variable in LOGIN_VARIABLES.values())
    ((level, said),) = find(databases, "Logins", DATABASE_BEAT_URL="")
    assert (level, said.startswith("beat share")) == ("warn", True)


def test_the_doctor_misses_a_login_and_a_role(databases: Databases, logins: dict[str, str], servers: Servers) -> None:
    found = find(databases, "Login", DATABASE_WEB_URL=logins["web"])
    assert any(level == "fail" and str(parse_url(logins["web"]).username) in said for level, said in found)
    upgrade(databases.owner_database_url, None, {"web": logins["web"]})
    databases.rows(f'set role sluice_owner; revoke sluice_door from "{parse_url(logins["web"]).username}"')
    found = find(databases, "Roles", DATABASE_WEB_URL=logins["web"])
    assert any(level == "fail" and "no member of sluice_door: run `sluice migrate`" in said for level, said in found)
