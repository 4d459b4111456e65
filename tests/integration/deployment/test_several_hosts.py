"""URLs that name several hosts, of which the first is not there: every way to the database finds the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from app.services.webhooks import settle
from models.migrations import make_partitions
from testbed.servers import Databases
from testbed.shop import make_shop
from tests.support.commands import Commands


def spread(url: str, missing: Path, form: str) -> str:
    """Return the URL with a first host on which nothing listens, named between @ and / or in the query."""
    start, _, query = url.partition("?host=")
    real, _, port = unquote(query).partition("&port=")
    login, _, database = start.removeprefix("postgresql://").partition("@/")
    if form == "query":
        return f"{start}?host={quote(str(missing))},{quote(real)}&port={port},{port}&target_session_attrs=read-write"
    hosts = f"{quote(str(missing), safe='')}:{port},{quote(real, safe='')}:{port}"
    return f"postgresql://{login}@{hosts}/{database}?target_session_attrs=read-write"


@pytest.fixture(params=["hosts", "query"])
def spread_place(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Databases:
    """Provide the databases, with several hosts in each of its URLs."""
    return replace(
        databases,
        database_url=spread(databases.database_url, tmp_path, request.param),
        owner_database_url=spread(databases.owner_database_url, tmp_path, request.param),
        login_urls={name: spread(url, tmp_path, request.param) for name, url in databases.login_urls.items()},
    )


def test_money_arrives_and_commands_work(spread_place: Databases) -> None:
    with spread_place.open_runtime() as runtime:
        shop = make_shop(runtime)
        payment = shop.deposit()
        shop.deliver(shop.body(payment))
        settle.settle_due(runtime)
        assert shop.payment(payment.id).status == "completed"
    assert make_partitions(spread_place.owner_database_url) == []
    commands = Commands(spread_place)
    assert "the newest" in commands.text("migrate")
    assert commands.json("partitions", "list")["data"]
    assert commands.json("partitions", "drop", "--keep-months", "12", "--yes")["data"] == []
    assert len(commands.json("payments", "list")["data"]) == 1
    findings = {row["check"]: row["level"] for row in json.loads(commands.run("doctor", "--json").stdout)["data"]}
    assert findings["Connection to PostgreSQL"] == findings["Migrations"] == findings["Login"] == "ok"


def test_hosts_of_which_none_is_there_are_one_line_and_no_trace(spread_place: Databases, tmp_path: Path) -> None:
    url = f"postgresql://login:hidden@{quote(str(tmp_path), safe='')}:1,127.0.0.1:9/sluice"
    said = Commands(spread_place).error("tenants", "list", DATABASE_OPERATOR_URL=url)
    assert "the database says: " in said
    assert "hidden" not in said
