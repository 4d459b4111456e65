"""`sluice migrate`, `tenants`, `keys`, `providers` on a real database."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from app.core.signatures import decode_secret
from app.runtime.runtime import Runtime
from app.services.access.callers import authenticate
from models.migrations import newest_revision
from testbed.servers import Databases, Servers
from tests.support.commands import LOCAL, Commands

SANDBOX = ("--adapter", "sandbox", "--url", "http://127.0.0.1:9")
SANDBOX_KEY = {"SLUICE_PROVIDER_API_KEY": "sbk_test"}
URL = "https://a.example"
INSERT_PROVIDER = (
    "insert into payment_providers (id, tenant_id, name, adapter, api_base_url, credentials_encrypted, mode)"
    " select gen_random_uuid(), id, 'paying', '{adapter}', '{url}', '', '{mode}' from tenants"
    " where name = 'real'"
)


@pytest.fixture
def commands(databases: Databases) -> Commands:
    """Provide the command line on databases of the test's own."""
    return Commands(databases)


def test_migrate_says_that_there_is_nothing_to_do(commands: Commands) -> None:
    newest = newest_revision()
    assert commands.json("migrate") == {"before": newest, "revision": newest, "newest": newest}
    assert f"revision {newest}, the newest" in commands.text("migrate")


def test_migrate_fills_an_empty_database(servers: Servers, tmp_path: Path) -> None:
    name = f"empty_{uuid.uuid4().hex[:8]}"
    servers.administer(f"create database {name} owner sluice_owner")
    try:
        urls = [servers.postgres.url(role, name) for role in ("sluice_app", "sluice_owner", "postgres")]
        empty = Databases(name, *urls, servers.valkey.url, servers.encryption_key, tmp_path)
        newest = newest_revision()
        assert commands_on(empty).json("migrate") == {"before": None, "revision": newest, "newest": newest}
        assert commands_on(empty).json("tenants", "list") == {"data": []}
    finally:
        servers.administer(f"drop database {name} with (force)")


def commands_on(databases: Databases) -> Commands:
    return Commands(databases)


def test_a_tenant_is_made_and_listed(commands: Commands) -> None:
    made = commands.json(
        *("tenants", "create", "acme", "--origin", "https://Shop.example:443", "--origin", "http://localhost:3000"),
        *("--success-url", "https://shop.example/paid", "--requests-per-second", "50", "--amount-minor-max", "100000"),
    )
    (tenant,) = commands.json("tenants", "list")["data"]
    assert tenant["id"] == made["id"]
    assert tenant["name"] == "acme"
    assert tenant["allowed_origins"] == ["https://shop.example", "http://localhost:3000"]
    assert tenant["requests_per_second"] == 50
    assert tenant["amount_minor_max"] == 100_000
    table = commands.text("tenants", "list")
    assert "acme" in table
    assert made["id"] in table
    audit = commands.databases.rows("select actor, kind, detail from audit_logs")
    assert [(row["kind"], row["detail"]) for row in audit] == [("tenant_created", {"name": "acme", "mode": "test"})]
    assert audit[0]["actor"] == LOCAL


def test_a_tenant_has_a_rate_limit_unless_it_is_to_have_none(commands: Commands) -> None:
    commands.json("tenants", "create", "acme")
    commands.json("tenants", "create", "bench", "--unlimited")
    limits = {row["name"]: row["requests_per_second"] for row in commands.json("tenants", "list")["data"]}
    assert limits == {"acme": 500, "bench": None}


def test_a_live_tenant_cannot_have_the_sandbox(commands: Commands) -> None:
    commands.json("tenants", "create", "trial")
    commands.json("tenants", "create", "real", "--mode", "live")
    assert {row["name"]: row["mode"] for row in commands.json("tenants", "list")["data"]} == {
        "trial": "test",
        "real": "live",
    }
    refused = commands.run("providers", "create", "--tenant", "real", "paying", *SANDBOX, **SANDBOX_KEY)
    assert refused.exit_code != 0
    assert "this account is for test payments, and the tenant takes live payments" in refused.output
    commands.json("providers", "create", "--tenant", "trial", "paying", *SANDBOX, **SANDBOX_KEY)
    assert [row["mode"] for row in commands.json("providers", "list")["data"]] == ["test"]


@pytest.mark.parametrize(
    "statement",
    [
        "update payment_providers set mode = 'live'",
        "update tenants set mode = 'live' where name = 'trial'",
        "update tenants set mode = 'test' where name = 'real'",
        INSERT_PROVIDER.format(adapter="sandbox", mode="live", url=URL),
        INSERT_PROVIDER.format(adapter="other", mode="test", url=URL),
        INSERT_PROVIDER.format(adapter="stripe", mode="live", url="http://127.0.0.1:8001/stripe"),
        INSERT_PROVIDER.format(adapter="adyen", mode="live", url="HTTP://127.0.0.1:8001/adyen"),
    ],
)
def test_the_database_keeps_test_and_live_apart(commands: Commands, statement: str) -> None:
    commands.json("tenants", "create", "trial")
    commands.json("tenants", "create", "real", "--mode", "live")
    commands.json("providers", "create", "--tenant", "trial", "paying", *SANDBOX, **SANDBOX_KEY)
    with pytest.raises(IntegrityError):
        commands.databases.rows(statement)


def test_no_tenants_yet(commands: Commands) -> None:
    assert commands.text("tenants", "list") == "No tenants yet.\n"
    assert commands.json("tenants", "list") == {"data": []}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("",), 1),
        (("../etc",), 1),
        (("acme", "--origin", "https://shop.example/path"), 1),
        (("acme", "--origin", "shop.example"), 1),
        (("acme", "--origin", "https://*.shop.example"), 1),
        (("acme", "--origin", "https://b\u00fccher.example"), 1),
        (("acme", "--origin", "https://[::1"), 1),
        (("acme", "--success-url", "https://[::1"), 2),
        (("acme", "--failure-url", "https://shop.example:port/"), 2),
        (("acme", "--success-url", "shop.example"), 2),
        (("acme", "--requests-per-second", "-1"), 2),
        (("acme", "--amount-minor-max", "1.5"), 2),
    ],
)
def test_a_tenant_that_cannot_be_is_refused(commands: Commands, arguments: tuple[str, ...], code: int) -> None:
    commands.error("tenants", "create", *arguments, code=code)
    assert commands.databases.value("select count(*) from tenants") == 0


def test_a_name_is_taken_once(commands: Commands) -> None:
    commands.text("tenants", "create", "acme")
    assert "there is a tenant 'acme' already" in commands.error("tenants", "create", "acme")


def test_a_key_works_until_it_is_revoked(commands: Commands, runtime: Runtime) -> None:
    tenant = commands.json("tenants", "create", "acme")
    made = commands.json("keys", "create", "--tenant", "acme", "--role", "operator", "--label", "till")
    caller = authenticate(runtime.database, made["secret_key"])
    assert caller is not None
    assert (str(caller.tenant_id), caller.role) == (tenant["id"], "operator")
    (listed,) = commands.json("keys", "list", "--tenant", tenant["id"])["data"]
    assert (listed["id"], listed["label"], listed["revoked_at"]) == (made["id"], "till", None)

    assert f"Key {made['id']} is revoked." in commands.text("keys", "revoke", made["id"])
    assert authenticate(runtime.database, made["secret_key"]) is None
    assert commands.json("keys", "list")["data"][0]["revoked_at"] is not None
    assert "could be revoked" in commands.error("keys", "revoke", made["id"])


def test_a_key_is_shown_once(commands: Commands) -> None:
    commands.text("tenants", "create", "acme")
    done = commands.run("keys", "create", "--tenant", "acme")
    assert done.stdout.count("sk_") == 1
    assert "not shown again" in done.stderr
    secret = done.stdout.split("sk_")[1].split()[0].split(".")[1]
    assert secret not in commands.text("keys", "list")
    assert secret not in commands.text("keys", "list", "--json")


def test_keys_of_unknown_tenants_are_refused(commands: Commands) -> None:
    assert "there is no tenant 'nobody'" in commands.error("keys", "create", "--tenant", "nobody")
    assert "there is no tenant 'nobody'" in commands.error("keys", "list", "--tenant", "nobody")
    commands.error("keys", "create", "--tenant", "nobody", "--role", "king", code=2)
    commands.error("keys", "revoke", "not-an-id", code=2)
    commands.error("keys", "revoke", str(uuid.uuid4()))


def test_keys_are_listed_per_tenant(commands: Commands) -> None:
    for name in ("acme", "other"):
        commands.text("tenants", "create", name)
        commands.text("keys", "create", "--tenant", name, "--label", f"of {name}")
    assert len(commands.json("keys", "list")["data"]) == 2
    assert [row["label"] for row in commands.json("keys", "list", "--tenant", "other")["data"]] == ["of other"]


def test_a_provider_is_made_with_its_key_from_stdin(commands: Commands, runtime: Runtime) -> None:
    commands.text("tenants", "create", "acme")
    made = commands.json(
        *("providers", "create", "--tenant", "acme", "main", *SANDBOX, "--api-key-file", "-"),
        *("--allow-ip", "10.0.0.0/8", "--currency", "USD", "--currency", "EUR"),
        stdin="the-key\n",
        SLUICE_PUBLIC_URL="https://pay.example",
    )
    assert len(decode_secret(made["webhook_secret"])) == 32
    assert made["webhook_url"] == f"https://pay.example/webhooks/{made['id']}"
    assert made["payment_webhook_urls"][0] == "https://pay.example/webhooks/payment-success"
    (stored,) = commands.databases.rows("select * from payment_providers")
    assert runtime.vault.decrypt(stored["credentials_encrypted"]) == '{"api_key":"the-key"}'
    assert stored["ip_allowlist"] == ["10.0.0.0/8"]
    (listed,) = commands.json("providers", "list", "--tenant", "acme")["data"]
    assert listed["is_default"] is True
    assert listed["currencies"] == ["USD", "EUR"]
    shown = commands.text("providers", "list") + commands.text("providers", "list", "--json")
    assert "main" in shown
    assert "the-key" not in shown
    assert made["webhook_secret"] not in shown


def test_a_providers_key_comes_from_the_environment_or_a_hidden_prompt(commands: Commands, runtime: Runtime) -> None:
    commands.text("tenants", "create", "acme")
    commands.text("providers", "create", "--tenant", "acme", "a", *SANDBOX, SLUICE_PROVIDER_API_KEY="from-environment")
    prompted = commands.run("providers", "create", "--tenant", "acme", "b", *SANDBOX, stdin="from-prompt\n")
    assert prompted.exit_code == 0
    assert "from-prompt" not in prompted.output
    rows = commands.databases.rows("select name, credentials_encrypted from payment_providers order by name")
    keys = {row["name"]: runtime.vault.decrypt(row["credentials_encrypted"]) for row in rows}
    assert keys == {"a": '{"api_key":"from-environment"}', "b": '{"api_key":"from-prompt"}'}


def test_the_default_provider_moves_only_on_request(commands: Commands) -> None:
    commands.text("tenants", "create", "acme")
    for name, options in (("first", ()), ("second", ()), ("third", ("--default",))):
        commands.text("providers", "create", "--tenant", "acme", name, *SANDBOX, *options, SLUICE_PROVIDER_API_KEY="k")
        defaults = [row["name"] for row in commands.json("providers", "list")["data"] if row["is_default"]]
        assert defaults == (["third"] if options else ["first"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("main", "--adapter", "nobody", "--url", "https://api.example"), 2),
        (("main", "--adapter", "sandbox", "--url", "api.example"), 2),
        (("main", "--adapter", "sandbox"), 1),
        (("main", "--adapter", "sandbox", "--url", "http://api.example"), 1),
        (("main", *SANDBOX, "--currency", "usd"), 1),
        (("main", *SANDBOX, "--currency", "XAU"), 1),
        (("main", *SANDBOX, "--allow-ip", "10.0.0.1/8"), 1),
        (("main", *SANDBOX, "--signature-header", "x-signature"), 1),
        (("main", *SANDBOX, "--api-key-file", "/dev/null"), 2),
    ],
)
def test_a_provider_that_cannot_be_is_refused(commands: Commands, arguments: tuple[str, ...], code: int) -> None:
    commands.text("tenants", "create", "acme")
    commands.error(*("providers", "create", "--tenant", "acme", *arguments), code=code, SLUICE_PROVIDER_API_KEY="k")
    assert commands.databases.value("select count(*) from payment_providers") == 0


def test_without_an_encryption_key_no_provider_is_made(commands: Commands) -> None:
    commands.text("tenants", "create", "acme")
    create = ("providers", "create", "--tenant", "acme", "main", *SANDBOX)
    said = commands.error(*create, SLUICE_ENCRYPTION_KEYS="", SLUICE_PROVIDER_API_KEY="k")
    assert "SLUICE_ENCRYPTION_KEYS is not set" in said
    assert "Traceback" not in said


def make_provider(commands: Commands) -> dict[str, str]:
    commands.text("tenants", "create", "acme")
    made: dict[str, str] = commands.json(
        "providers", "create", "--tenant", "acme", "main", *SANDBOX, SLUICE_PROVIDER_API_KEY="k"
    )
    return made


def test_a_rotated_secret_overlaps_the_old_one(commands: Commands) -> None:
    made = make_provider(commands)
    rotated = commands.json("providers", "rotate-secret", made["id"], "--overlap", "2h")
    assert rotated["overlap_seconds"] == 7200
    assert decode_secret(rotated["webhook_secret"]) != decode_secret(made["webhook_secret"])
    rows = commands.databases.rows(
        "select extract(epoch from ends_at - now()) as left from provider_secrets order by id"
    )
    assert 7100 < float(rows[0]["left"]) <= 7200
    assert rows[1]["left"] is None
    assert commands.json("providers", "list")["data"][0]["active_secrets"] == 2
    commands.text("providers", "rotate-secret", made["id"], "--overlap", "0")
    assert commands.json("providers", "list")["data"][0]["active_secrets"] == 1


@pytest.mark.parametrize("overlap", ["soon", "-1h", "400d"])
def test_an_overlap_that_cannot_be_is_refused(commands: Commands, overlap: str) -> None:
    made = make_provider(commands)
    commands.error("providers", "rotate-secret", made["id"], "--overlap", overlap, code=2)
    assert commands.databases.value("select count(*) from provider_secrets") == 1


def test_a_provider_is_disabled_once(commands: Commands) -> None:
    made = make_provider(commands)
    assert commands.json("providers", "disable", made["id"]) == {"id": made["id"], "disabled": True}
    assert commands.json("providers", "list")["data"][0]["disabled_at"] is not None
    assert "could be disabled" in commands.error("providers", "disable", made["id"])
    assert "there is no provider" in commands.error("providers", "rotate-secret", str(uuid.uuid4()))
