"""`sluice providers update|enable` and `sluice tenants update`: changed, audited, and in force."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from app.providers.credentials import decode_credentials
from app.runtime.runtime import Runtime
from app.runtime.vault import Vault, new_encryption_key
from testbed.servers import Databases
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of
from tests.support.commands import LOCAL, Commands
from tests.support.engine import Engine

SANDBOX = ("--adapter", "sandbox", "--url", "http://127.0.0.1:9")


@pytest.fixture
def commands(databases: Databases) -> Commands:
    """Provide the command line on databases of the test's own."""
    return Commands(databases)


@pytest.fixture
def provider(commands: Commands) -> str:
    """Provide a provider of the tenant acme."""
    commands.text("tenants", "create", "acme")
    return make_provider(commands, "main")


def make_provider(commands: Commands, name: str) -> str:
    words = ("providers", "create", "--tenant", "acme", name, *SANDBOX, "--allow-ip", "10.0.0.0/8", "--currency", "USD")
    made: dict[str, str] = commands.json(*words, SLUICE_PROVIDER_API_KEY="old-key")
    return made["id"]


def audited(databases: Databases, kind: str) -> list[dict[str, Any]]:
    found = databases.rows("select actor, detail from audit_logs where kind = :kind order by id", kind=kind)
    assert all(row["actor"] == LOCAL for row in found)
    return [row["detail"] for row in found]


# Options of `providers update`, the column they change, and its value before and after.
PROVIDER_CHANGES: dict[str, tuple[tuple[str, ...], str, Any, Any]] = {
    "name": (("--name", "other"), "name", "main", "other"),
    "url": (("--url", "https://api.example/v2/"), "api_base_url", "http://127.0.0.1:9", "https://api.example/v2"),
    "addresses": (
        ("--allow-ip", "192.0.2.7", "--allow-ip", "2001:db8::/32"),
        "ip_allowlist",
        ["10.0.0.0/8"],
        ["192.0.2.7", "2001:db8::/32"],
    ),
    "any address": (("--allow-any-ip",), "ip_allowlist", ["10.0.0.0/8"], []),
    "currencies": (("--currency", "EUR", "--currency", "JPY"), "currencies", ["USD"], ["EUR", "JPY"]),
    "all currencies": (("--all-currencies",), "currencies", ["USD"], None),
    "calls": (("--calls", "3"), "calls_max", 8, 3),
    "attempts": (("--attempts", "20"), "attempts_max", 12, 20),
}


@pytest.mark.parametrize("name", PROVIDER_CHANGES)
def test_a_provider_is_changed_once_and_audited(commands: Commands, provider: str, name: str) -> None:
    options, column, before, after = PROVIDER_CHANGES[name]
    old = commands.json("providers", "list")["data"][0]
    done = commands.json("providers", "update", provider, *options)
    assert done["changed"] == [column]
    new = commands.json("providers", "list")["data"][0]
    assert new == old | {column: after}
    assert commands.json("providers", "update", provider, *options)["changed"] == []
    change = {column: {"from": before, "to": after}}
    assert audited(commands.databases, "provider_updated") == [{"provider_id": provider, "changed": change}]


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ((), {"SLUICE_PROVIDER_API_KEY": "new-key"}),
        (("--api-key-file", "-"), {"stdin": "new-key\n"}),
        (("--api-key",), {"stdin": "new-key\n"}),
        (("--url", "https://api.example"), {"SLUICE_PROVIDER_API_KEY": "new-key"}),
    ],
)
def test_our_key_there_is_replaced_and_shown_nowhere(
    commands: Commands, runtime: Runtime, provider: str, options: tuple[str, ...], given: dict[str, str]
) -> None:
    done = commands.run("providers", "update", provider, *options, "--json", **given)
    assert (done.exit_code, "new-key" in done.output) == (0, False), done.output
    (row,) = commands.databases.rows("select credentials_encrypted from payment_providers")
    assert json.loads(runtime.vault.decrypt(row["credentials_encrypted"])) == {"api_key": "new-key"}
    (detail,) = audited(commands.databases, "provider_updated")
    assert detail["changed"]["api_key"] == "replaced"
    assert "key" not in str(detail).replace("api_key", "")


def test_a_key_that_nobody_can_read_is_replaced_as_a_whole(commands: Commands, runtime: Runtime, provider: str) -> None:
    lost = Vault([new_encryption_key()]).encrypt("lost")
    commands.databases.rows("update payment_providers set credentials_encrypted = :lost", lost=lost)
    refused = commands.error("providers", "update", provider, "--url", "https://api.example")
    assert "no key of SLUICE_ENCRYPTION_KEYS decrypts its credentials: replace all of them at once" in refused
    commands.json("providers", "update", provider, "--url", "https://api.example", SLUICE_PROVIDER_API_KEY="new")
    stored = commands.databases.value("select credentials_encrypted from payment_providers")
    assert decode_credentials(runtime.vault.decrypt(stored)) == {"api_key": "new"}


def test_the_default_moves_to_another_provider(commands: Commands, provider: str) -> None:
    second = make_provider(commands, "second")
    assert commands.json("providers", "update", second, "--default")["is_default"] is True
    assert commands.json("providers", "update", second, "--default")["changed"] == []
    defaults = {row["id"]: row["is_default"] for row in commands.json("providers", "list")["data"]}
    assert defaults == {provider: False, second: True}
    assert commands.json("tenants", "update", "acme", "--default-provider", "main")["changed"] == [
        "default_provider_id"
    ]
    assert commands.json("tenants", "list")["data"][0]["default_provider_id"] == provider
    commands.json("providers", "disable", second)
    assert "is disabled" in commands.error("tenants", "update", "acme", "--default-provider", second)
    assert "has no provider" in commands.error("tenants", "update", "acme", "--default-provider", str(uuid.uuid4()))


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "name what is to change"),
        (("--url", "http://api.example"), 1, "https"),
        (("--url", "api.example"), 2, "is no URL"),
        (("--allow-ip", "10.0.0.1/8"), 1, "host bits"),
        (("--allow-ip", "10.0.0.1", "--allow-any-ip"), 2, "contradict"),
        (("--currency", "usd"), 1, "usd"),
        (("--currency", "USD", "--all-currencies"), 2, "contradict"),
        (("--calls", "0"), 2, "calls"),
        (("--attempts", "x"), 2, "attempts"),
        (("--name", "../x"), 1, "a name has"),
        (("--name", "second"), 1, "has a provider 'second' already"),
        (("--api-key-file", "/dev/null"), 2, "is empty"),
        (("--api-key-file", "/nowhere"), 2, "/nowhere"),
        (("--credential", "client_id=/dev/null"), 2, "the adapter's are api_key"),
    ],
)
def test_a_change_that_cannot_be_leaves_the_provider_as_it_is(
    commands: Commands, provider: str, options: tuple[str, ...], code: int, said: str
) -> None:
    make_provider(commands, "second")
    before = commands.databases.rows("select * from payment_providers order by id")
    assert said in commands.error("providers", "update", provider, *options, code=code)
    assert commands.databases.rows("select * from payment_providers order by id") == before
    assert audited(commands.databases, "provider_updated") == []


def test_an_unknown_provider_is_neither_changed_nor_enabled(commands: Commands, provider: str) -> None:
    unknown = str(uuid.uuid4())
    assert "there is no provider" in commands.error("providers", "update", unknown, "--calls", "2")
    assert "could be enabled" in commands.error("providers", "enable", unknown)
    assert "could be enabled" in commands.error("providers", "enable", provider)


# Options of `tenants update`, the column, and its value before and after.
TENANT_CHANGES: dict[str, tuple[tuple[str, ...], str, Any, Any]] = {
    "name": (("--name", "Acme Ltd."), "name", "acme", "Acme Ltd."),
    "origins": (
        ("--origin", "https://New.example", "--origin", "http://localhost:3000"),
        "allowed_origins",
        ["https://shop.example"],
        ["https://new.example", "http://localhost:3000"],
    ),
    "no origins": (("--no-origins",), "allowed_origins", ["https://shop.example"], []),
    "success": (
        ("--success-url", "https://shop.example/b"),
        "default_success_url",
        "https://shop.example/a",
        "https://shop.example/b",
    ),
    "no success": (("--no-success-url",), "default_success_url", "https://shop.example/a", None),
    "failure": (("--failure-url", "https://shop.example/c"), "default_failure_url", None, "https://shop.example/c"),
    "rate": (("--requests-per-second", "7"), "requests_per_second", 50, 7),
    "no rate": (("--requests-per-second", "0"), "requests_per_second", 50, None),
    "limit": (("--amount-minor-max", "5"), "amount_minor_max", 900, 5),
    "no limit": (("--amount-minor-max", "0"), "amount_minor_max", 900, None),
}


def make_tenant(commands: Commands, name: str) -> dict[str, Any]:
    options = ("--origin", "https://shop.example", "--success-url", "https://shop.example/a")
    limits = ("--requests-per-second", "50", "--amount-minor-max", "900")
    made: dict[str, Any] = commands.json("tenants", "create", name, *options, *limits)
    return made


@pytest.mark.parametrize("name", TENANT_CHANGES)
def test_a_tenant_is_changed_once_and_audited(commands: Commands, name: str) -> None:
    options, column, before, after = TENANT_CHANGES[name]
    made, other = make_tenant(commands, "acme"), make_tenant(commands, "other")
    untouched = commands.databases.rows("select * from tenants where id = :id", id=other["id"])
    done = commands.json("tenants", "update", made["id"], *options)
    assert (done["changed"], done[column]) == ([column], after)
    assert commands.databases.value(f"select {column} from tenants where id = :id", id=made["id"]) == after
    assert commands.json("tenants", "update", made["id"], *options)["changed"] == []
    assert audited(commands.databases, "tenant_updated") == [{"changed": {column: {"from": before, "to": after}}}]
    assert commands.databases.rows("select * from tenants where id = :id", id=other["id"]) == untouched


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "name what is to change"),
        (("--name", ""), 1, "a name has"),
        (("--name", "other"), 1, "there is a tenant 'other' already"),
        (("--origin", "https://shop.example/path"), 1, "origin"),
        (("--origin", "https://a.example", "--no-origins"), 2, "contradict"),
        (("--success-url", "shop.example"), 2, "is no URL"),
        (("--success-url", "https://a.example", "--no-success-url"), 2, "contradict"),
        (("--failure-url", "https://a.example", "--no-failure-url"), 2, "contradict"),
        (("--requests-per-second", "-1"), 2, "requests-per-second"),
        (("--amount-minor-max", "1.5"), 2, "amount-minor-max"),
        (("--default-provider", "nobody"), 1, "has no provider 'nobody'"),
    ],
)
def test_a_change_that_cannot_be_leaves_the_tenant_as_it_is(
    commands: Commands, options: tuple[str, ...], code: int, said: str
) -> None:
    make_tenant(commands, "acme")
    make_tenant(commands, "other")
    before = commands.databases.rows("select * from tenants order by id")
    assert said in commands.error("tenants", "update", "acme", *options, code=code)
    assert commands.databases.rows("select * from tenants order by id") == before
    assert audited(commands.databases, "tenant_updated") == []
    assert "there is no tenant 'nobody'" in commands.error("tenants", "update", "nobody", "--name", "x")


def test_another_tenants_provider_is_no_default(commands: Commands, provider: str) -> None:
    commands.text("tenants", "create", "other")
    for wanted in (provider, "main"):
        assert "has no provider" in commands.error("tenants", "update", "other", "--default-provider", wanted)


def test_a_disabled_provider_is_enabled_and_takes_deposits(front: Stack, shop: Shop, api: Api) -> None:
    commands, provider = Commands(front.databases), str(shop.provider_id)
    commands.json("providers", "disable", provider)
    assert fields_of(api.deposit()) == {"provider_id"}
    assert commands.json("providers", "enable", provider) == {"id": provider, "enabled": True}
    assert api.deposit().status_code == 202
    assert "could be enabled" in commands.error("providers", "enable", provider)
    kinds = front.databases.rows(
        "select kind from audit_logs where tenant_id = :id and kind like 'provider\\_%able%' order by id",
        id=shop.tenant_id,
    )
    assert [row["kind"] for row in kinds] == ["provider_disabled", "provider_enabled"]


def test_a_changed_provider_is_called_as_changed(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    commands, provider = Commands(front.databases), str(shop.provider_id)
    commands.json("providers", "update", provider, "--currency", "EUR", SLUICE_PROVIDER_API_KEY="wrong")
    assert fields_of(api.deposit()) == {"currency"}
    refused = api.deposit(currency="EUR").json()["id"]
    engine.call()
    assert engine.dead_letters(uuid.UUID(refused)) == [("provider_refused_us", "open")]
    commands.json("providers", "update", provider, SLUICE_PROVIDER_API_KEY=shop.provider_api_key)
    commands.text("dead-letters", "redrive", "--tenant", str(shop.tenant_id), "--filter", "kind=provider_call", "--yes")
    engine.call()
    assert api.read(refused)["status"] == "processing"
