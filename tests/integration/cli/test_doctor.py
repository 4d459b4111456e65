"""`sluice doctor` on real servers, with one thing wrong at a time."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from typing import get_args

import pytest
from redis import Redis

from app.cli.stack import open_runtime
from app.doctor import examine
from app.runtime.settings import LOGIN_VARIABLES, Settings
from app.runtime.vault import new_encryption_key
from models.database import Role
from testbed.servers import Databases, Servers
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.commands import Commands


def worst(findings: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    """Return level and detail of the worst finding of each check."""
    order = ["ok", "warn", "fail"]
    return {check: (level, detail) for level, check, detail in sorted(findings, key=lambda row: order.index(row[0]))}


def _only_login(environment: dict[str, str]) -> dict[str, str]:
    """Return settings in which a DATABASE_URL of the test's own is the only one."""
    others = dict.fromkeys(LOGIN_VARIABLES.values(), "") if "DATABASE_URL" in environment else {}
    return {"SLUICE_PROCESS": "operator"} | others | environment


def examine_area(databases: Databases, area: str, **environment: str) -> dict[str, tuple[str, str]]:
    """Examine one area; return level and detail by check."""
    with open_runtime(Settings.from_environment(databases.environment | _only_login(environment))) as runtime:
        return worst((found.level, found.check, found.detail) for _, found in examine(runtime, [area]))


def run(databases: Databases, **environment: str) -> dict[str, tuple[str, str]]:
    """Run the whole command; exit code and totals must agree with what it finds."""
    done = Commands(databases).run("doctor", "--json", **_only_login(environment))
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"]) in ((0, True), (1, False)), done.exception
    assert document["ok"] == (document["totals"]["fail"] == 0)
    return worst((row["level"], row["check"], row["detail"]) for row in document["data"])


def test_a_fresh_place_is_fine_but_for_what_does_not_run(databases: Databases, tenant: Shop) -> None:
    found = run(databases)
    failing = {check for check, (level, _) in found.items() if level == "fail"}
    # The tests' own PostgreSQL runs without syncs, and no process of Sluice is started.
    assert failing == {"Durability", "Workers", "Sweep"}
    assert "fsync, full_page_writes" in found["Durability"][1]
    for check in ("PostgreSQL", "Migrations", "Roles", "Row-level security", "Redis", "Encryption keys", "Clocks"):
        assert found[check][0] == "ok", found[check]


def test_the_table_exits_with_1_and_shows_no_secret(databases: Databases, tenant: Shop) -> None:
    done = Commands(databases).run("doctor")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("OK") and "PostgreSQL" in line for line in lines)
    assert any(line.startswith("FAIL") and "Durability" in line for line in lines)
    assert lines[-1].endswith(" FAIL")
    password = databases.redis_url.split("@")[0].rpartition(":")[2]
    for secret in (password, databases.encryption_key, tenant.webhook_secret, tenant.provider_api_key):
        assert secret not in done.output


def test_servers_that_are_away_are_findings(databases: Databases) -> None:
    found = run(
        databases,
        DATABASE_URL="postgresql://login:hidden-word@127.0.0.1:9/sluice",
        REDIS_URL="redis://:hidden-word@127.0.0.1:9/0",
        BROKER_URL="redis://:hidden-word@127.0.0.1:9/0",
    )
    for check in ("PostgreSQL", "Redis", "Workers", "Work"):
        assert found[check][0] == "fail"
    assert "hidden-word" not in str(found)


def test_running_processes_are_seen(stack: Stack) -> None:
    stack.start("worker-settle", "worker-provider", "worker-deliver", "beat", "web")
    wait_until(lambda: examine_area(stack.databases, "Work")["Sweep"][0] == "ok", "the sweep has run", 30)
    found = run(stack.databases, SLUICE_PUBLIC_URL=stack.web)
    for check in ("Workers", "Web", "Due work", "Sweep"):
        assert found[check][0] == "ok", found[check]
    stack.stop("worker-settle")
    level, detail = examine_area(stack.databases, "Celery")["Workers"]
    assert level == "fail"
    assert "ring.settle" in detail


def test_a_table_without_forced_policies_fails(databases: Databases) -> None:
    databases.rows("alter table wallets no force row level security")
    assert examine_area(databases, "PostgreSQL")["Row-level security"] == ("fail", "not enabled and forced on wallets")


def test_an_old_schema_fails(databases: Databases) -> None:
    databases.rows("update alembic_version set version_num = '0000'")
    level, detail = examine_area(databases, "PostgreSQL")["Migrations"]
    assert level == "fail"
    assert "sluice migrate" in detail


def test_logins_that_may_too_much_warn(databases: Databases) -> None:
    for url, word in ((databases.superuser_url, "superuser"), (databases.owner_database_url, "owner")):
        level, detail = examine_area(databases, "PostgreSQL", DATABASE_URL=url)["Login"]
        assert level == "warn"
        assert word in detail


@pytest.fixture
def login(servers: Servers, databases: Databases) -> Iterator[tuple[str, str]]:
    """Provide a login of the test's own without any rights: its name, and its URL."""
    name = f"login_{uuid.uuid4().hex[:8]}"
    servers.administer(f"create role {name} login inherit")
    try:
        yield name, servers.postgres.url(name, databases.name)
    finally:
        servers.administer(f"drop role {name}")


def test_a_login_without_the_roles_fails(databases: Databases, login: tuple[str, str]) -> None:
    level, detail = examine_area(databases, "PostgreSQL", DATABASE_URL=login[1])["Roles"]
    assert level == "fail"
    assert "sluice_worker" in detail


def test_a_login_that_inherits_the_roles_warns(databases: Databases, login: tuple[str, str], servers: Servers) -> None:
    servers.administer(f"grant {', '.join(f'sluice_{role}' for role in get_args(Role))} to {login[0]}")
    level, detail = examine_area(databases, "PostgreSQL", DATABASE_URL=login[1])["Roles"]
    assert level == "warn"
    assert "inherits" in detail


def test_keys_that_fit_nothing_fail_and_are_not_shown(databases: Databases, tenant: Shop) -> None:
    other = new_encryption_key()
    level, detail = examine_area(databases, "Secrets", SLUICE_ENCRYPTION_KEYS=other)["Encryption keys"]
    assert level == "fail"
    assert "none decrypts the credentials of sandbox" in detail
    assert other not in detail
    for unusable in ("no key at all", ""):
        assert examine_area(databases, "Secrets", SLUICE_ENCRYPTION_KEYS=unusable)["Encryption keys"][0] == "fail"


def test_an_older_key_that_is_still_needed_is_said(databases: Databases, tenant: Shop) -> None:
    keys = f"{new_encryption_key()},{databases.encryption_key}"
    level, detail = examine_area(databases, "Secrets", SLUICE_ENCRYPTION_KEYS=keys)["Encryption keys"]
    assert level == "ok"
    assert "2 of them only with an older key" in detail


def test_an_old_webhook_secret_warns(databases: Databases, tenant: Shop) -> None:
    assert examine_area(databases, "Secrets")["Webhook secrets"][0] == "ok"
    databases.rows("update provider_secrets set created_at = now() - interval '366 days'")
    level, detail = examine_area(databases, "Secrets")["Webhook secrets"]
    assert level == "warn"
    assert str(tenant.provider_id) in detail
    databases.rows("update provider_secrets set ends_at = now() - interval '1 day'")
    assert examine_area(databases, "Secrets")["Webhook secrets"][0] == "fail"


def test_waiting_dead_letters_warn(databases: Databases, tenant: Shop) -> None:
    payment = tenant.deposit()
    assert examine_area(databases, "Work")["Dead letters"][0] == "ok"
    databases.rows(
        "insert into dead_letters (id, tenant_id, kind, payment_id, reason, detail)"
        " values (:id, :tenant, 'provider_call', :payment, 'attempts_exhausted', 'tried')",
        id=uuid.uuid4(),
        tenant=tenant.tenant_id,
        payment=payment.id,
    )
    assert examine_area(databases, "Work")["Dead letters"] == ("warn", "1 open")


def test_work_that_is_overdue_fails(databases: Databases, tenant: Shop) -> None:
    tenant.deposit()
    assert examine_area(databases, "Work")["Due work"][0] == "ok"
    databases.rows("update payment_work set due_at = now() - interval '10 minutes'")
    level, detail = examine_area(databases, "Work")["Due work"]
    assert level == "fail"
    assert "provider" in detail


def test_a_redis_that_evicts_fails(databases: Databases) -> None:
    client = Redis.from_url(databases.redis_url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert examine_area(databases, "Redis")["Redis eviction"][0] == "fail"
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()


def test_doorbells_that_nobody_answers_warn(databases: Databases) -> None:
    client = Redis.from_url(databases.redis_url)
    client.rpush("ring.settle", *range(1001))
    client.close()
    level, detail = examine_area(databases, "Redis")["Redis queues"]
    assert level == "warn"
    assert "ring.settle: 1001" in detail


def test_a_redis_without_a_password_warns_on_this_machine(databases: Databases) -> None:
    client = Redis.from_url(databases.redis_url)
    password = client.config_get("requirepass")["requirepass"]
    assert examine_area(databases, "Redis")["Redis password"] == ("ok", "required")
    client.config_set("requirepass", "")
    try:
        assert examine_area(databases, "Redis")["Redis password"][0] == "warn"
    finally:
        client.config_set("requirepass", password)
        client.close()
