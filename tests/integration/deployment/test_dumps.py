"""A dump by the owner's login, restored into a fresh server: the books are the same and hold there."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.embedded import OWNER_ROLE, PostgresServer
from app.local.embedded.postgres import find_postgres_bin
from app.services import verification
from models import Database
from models.logins import ALL_ROLES
from models.migrations import upgrade
from testbed.servers import Databases, Servers
from testbed.shop import Shop
from tests.support.books import settle
from tests.support.repository import ROOT

GUIDE = ROOT / "docs" / "OPERATIONS.md"
TABLES = ("payment_transactions", "wallets", "wallet_transactions", "audit_logs", "audit_seals", "payment_webhooks")


def run(program: str, *arguments: str) -> str:
    done = subprocess.run([find_postgres_bin() / program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Provide a server on which only the owner of Sluice's database exists."""
    with PostgresServer(tmp_path_factory.mktemp("fresh"), {"fsync": "off"}) as server:
        databases = Databases("", "", "", server.superuser_url, "", "", Path())
        for role in ALL_ROLES:
            databases.rows(f"set role {OWNER_ROLE}; create role sluice_{role} nologin")
        yield server


@contextlib.contextmanager
def bypassing(servers: Servers, may_bypass: bool) -> Iterator[None]:
    """Run a block with or without the owner's right to bypass row-level security."""
    servers.administer(f"alter role {OWNER_ROLE} {'bypassrls' if may_bypass else 'nobypassrls'}")
    try:
        yield
    finally:
        servers.administer(f"alter role {OWNER_ROLE} bypassrls")


@pytest.mark.parametrize(("may_bypass", "options"), [(True, ()), (False, ("--enable-row-security",))])
def test_the_owners_dump_is_whole_and_its_books_hold_elsewhere(
    databases: Databases,
    tenant: Shop,
    servers: Servers,
    fresh: PostgresServer,
    tmp_path: Path,
    may_bypass: bool,
    options: tuple[str, ...],
) -> None:
    tenant.deliver(tenant.body(tenant.deposit()))
    tenant.deliver(tenant.body(tenant.deposit(), amount="1.00"))
    settle(tenant.runtime)
    with bypassing(servers, may_bypass):
        run("pg_dump", *options, "--format=custom", f"--file={tmp_path / 'dump'}", databases.owner_database_url)
    superuser = Databases("", "", "", fresh.url("postgres", "postgres"), "", "", Path())
    name = f"restored_{may_bypass}".lower()
    create = f"create database {name} owner {OWNER_ROLE} template template0"
    run("psql", "--quiet", f"--command={create}", superuser.superuser_url)
    run("pg_restore", "--exit-on-error", f"--dbname={fresh.url(OWNER_ROLE, name)}", str(tmp_path / "dump"))
    upgrade(fresh.url(OWNER_ROLE, name), fresh.url("sluice_app", name))
    restored = Databases(name, fresh.url("sluice_app", name), "", fresh.url("postgres", name), "", "", Path())
    for table in TABLES:
        query = f"select to_jsonb(t) as row from {table} t order by t::text"
        assert restored.rows(query) == databases.rows(query)
        assert restored.value(f"select count(*) from {table}") > 0
    database = Database(restored.database_url, 2)
    report = verification.prove(database, "full")
    database.engine.dispose()
    assert (report.broken, report.is_complete) == ({}, True)
    assert report.counts["audit rows"] > 0


def test_the_guide_makes_every_role_before_it_restores() -> None:
    (roles,) = re.findall(r"^for role in (.+); do$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(roles.split()) == set(ALL_ROLES)
