"""One minimum version of PostgreSQL, which migrations, the doctor and the documents hold to."""

from __future__ import annotations

import re

import pytest

from app.doctor import examine
from app.local.embedded import OWNER_ROLE
from app.runtime.runtime import Runtime
from models import postgres_version
from models.migrations import upgrade
from models.postgres_version import UnsupportedServer
from testbed.servers import Databases, Servers
from tests.support.commands import Commands
from tests.support.repository import ROOT

DOCUMENTS = ROOT / "docs"


@pytest.fixture
def too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests' own server one version older than is needed."""
    monkeypatch.setattr(postgres_version, "MAJOR_MIN", postgres_version.MAJOR_BEST + 1)


def test_migrating_refuses_an_older_server_before_it_changes_anything(servers: Servers, too_old: None) -> None:
    servers.administer(f"create database older owner {OWNER_ROLE}")
    url = servers.postgres.url(OWNER_ROLE, "older")
    try:
        with pytest.raises(UnsupportedServer, match=r"version 18\.\d+ is too old: 19 or newer"):
            upgrade(url, servers.postgres.database_url)
        databases = Databases("older", url, url, servers.postgres.url("postgres", "older"), "", "", servers.folder)
        assert databases.rows("select relname from pg_class where relnamespace = 'public'::regnamespace") == []
    finally:
        servers.administer("drop database older with (force)")


def test_the_command_and_the_doctor_give_the_same_reason(databases: Databases, runtime: Runtime, too_old: None) -> None:
    done = Commands(databases).run("migrate")
    assert done.exit_code == 1
    found = next(finding for _, finding in examine(runtime, ["PostgreSQL"]))
    assert (found.level, found.check) == ("fail", "PostgreSQL")
    assert found.detail in done.output
    assert "Traceback" not in done.output


def test_the_documents_name_the_same_versions() -> None:
    text = (DOCUMENTS / "OPERATIONS.md").read_text(encoding="utf-8")
    ranges = re.findall(r"PostgreSQL (\d+) to (\d+)", text)
    assert set(ranges) == {(str(postgres_version.MAJOR_MIN), str(postgres_version.MAJOR_BEST))}
    assert set(re.findall(r"older than PostgreSQL (\d+)", text)) == {str(postgres_version.MAJOR_MIN)}
