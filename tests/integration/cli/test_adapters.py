"""`sluice adapters list`, and providers whose adapter another package brings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.errors import ProviderUnusable
from app.providers.credentials import encode_credentials
from app.runtime.runtime import Runtime
from testbed.servers import Databases
from tests.support.commands import Commands
from tests.support.foreign_adapter import install_adapter

FOREIGN = ("--adapter", "foreign", "--url", "https://api.example")


@pytest.fixture
def commands(databases: Databases) -> Commands:
    """Provide the command line on databases of the test's own, with a tenant."""
    commands = Commands(databases)
    commands.text("tenants", "create", "acme")
    return commands


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide a folder whose packages are installed."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def test_the_adapters_are_listed_with_what_each_can_and_needs(commands: Commands) -> None:
    rows = {row["name"]: row for row in commands.json("adapters", "list")["data"]}
    sandbox = rows["sandbox"]
    assert (sandbox["package"], sandbox["problem"]) == ("sluice", None)
    assert (sandbox["can_cancel"], sandbox["listing"], sandbox["reversals"]) == (True, "exact", "totals")
    assert {"EUR", "JPY", "KWD"} <= set(sandbox["currencies"])
    ((name, is_secret),) = [(one["name"], one["is_secret"]) for one in rows["paystack"]["credentials"]]
    assert (name, is_secret) == ("api_key", True)
    shown = commands.text("adapters", "list")
    assert "paystack" in shown
    assert "api_key" in shown


def test_a_provider_of_a_foreign_adapter_is_made(commands: Commands, folder: Path) -> None:
    install_adapter(folder, "foreign")
    commands.json("providers", "create", "--tenant", "acme", "main", *FOREIGN, SLUICE_PROVIDER_API_KEY="k")
    assert [row["adapter"] for row in commands.json("providers", "list")["data"]] == ["foreign"]


def test_one_that_is_broken_is_named_with_its_package(commands: Commands, folder: Path) -> None:
    install_adapter(folder, "foreign", "raise RuntimeError('not today')")
    (row,) = [row for row in commands.json("adapters", "list")["data"] if row["problem"]]
    assert (row["name"], row["package"], row["problem"]) == ("foreign", "foreign-pay", "RuntimeError: not today")
    told = "the adapter 'foreign' of the package foreign-pay cannot be used: RuntimeError: not today"
    create = ("providers", "create", "--tenant", "acme", "main", *FOREIGN)
    assert told in commands.error(*create, SLUICE_PROVIDER_API_KEY="k")
    with commands.databases.open_runtime() as runtime, pytest.raises(ProviderUnusable, match="foreign-pay"):
        runtime.find_adapter("foreign")
    failed = commands.run("doctor", "--json")
    assert failed.exit_code == 1
    assert told in failed.stdout


def test_one_that_is_not_installed_is_refused(commands: Commands) -> None:
    refused = commands.error("providers", "create", "--tenant", "acme", "main", *FOREIGN, code=2)
    assert "'foreign' is not installed; there are " in refused


def test_a_provider_has_the_url_of_its_adapter_unless_another_is_named(commands: Commands) -> None:
    create = ("providers", "create", "--tenant", "acme", "--adapter", "stripe")
    made = commands.json(*create, "main", SLUICE_PROVIDER_API_KEY="sk_test_a")
    # Its webhooks have a form of their own, and so no address for Sluice's.
    assert "webhook_url" in made
    assert "payment_webhook_urls" not in made
    commands.json(*create, "other", "--url", "https://stripe.example/", SLUICE_PROVIDER_API_KEY="sk_test_a")
    urls = {row["name"]: row["api_base_url"] for row in commands.json("providers", "list")["data"]}
    assert urls == {"main": "https://api.stripe.com", "other": "https://stripe.example"}


def test_a_key_of_the_other_mode_is_refused_when_it_is_replaced_too(commands: Commands) -> None:
    create = ("providers", "create", "--tenant", "acme", "main", "--adapter", "stripe")
    other = "this account is for live payments, and the tenant takes test payments"
    assert other in commands.error(*create, SLUICE_PROVIDER_API_KEY="sk_live_a")
    made = commands.json(*create, SLUICE_PROVIDER_API_KEY="sk_test_a")
    assert other in commands.error("providers", "update", made["id"], SLUICE_PROVIDER_API_KEY="sk_live_a")
    wrong = commands.error("providers", "update", made["id"], SLUICE_PROVIDER_API_KEY="pk_test_a")
    assert "api_key is not what it should be: it begins with sk_test_" in wrong
    assert "pk_test_a" not in wrong


def test_a_live_tenant_cannot_have_an_emulator_of_a_provider_without_one_address(commands: Commands) -> None:
    commands.json("tenants", "create", "real", "--mode", "live")
    create = ("providers", "create", "--tenant", "real", "main", "--adapter", "adyen")
    key = {"SLUICE_PROVIDER_API_KEY": "key_of_adyen_1", "SLUICE_PROVIDER_MERCHANT_ACCOUNT": "Acme"}
    refused = commands.error(*create, "--url", "http://127.0.0.1:8001/adyen", **key)
    assert "live payments need an https URL" in refused


def test_a_live_tenant_cannot_have_an_emulator(commands: Commands) -> None:
    commands.json("tenants", "create", "real", "--mode", "live")
    emulator, key = "http://127.0.0.1:8001/stripe", {"SLUICE_PROVIDER_API_KEY": "sk_live_a"}
    create = ("providers", "create", "--tenant", "real", "main", "--adapter", "stripe")
    refused = "live payments need an https URL"
    assert refused in commands.error(*create, "--url", emulator, **key)
    made = commands.json(*create, **key)
    assert refused in commands.error("providers", "update", made["id"], "--url", emulator)
    assert refused in commands.error("providers", "update", made["id"], "--url", emulator, **key)
    assert [row["api_base_url"] for row in commands.json("providers", "list")["data"]] == ["https://api.stripe.com"]
    tried = ("providers", "create", "--tenant", "acme", "trial", "--adapter", "stripe", "--url", emulator)
    commands.json(*tried, SLUICE_PROVIDER_API_KEY="sk_test_a")


def test_a_live_tenant_may_have_an_app_of_its_own_without_https(commands: Commands) -> None:
    commands.json("tenants", "create", "real", "--mode", "live")
    create = ("providers", "create", "--tenant", "real", "own", "--adapter", "custom", "--url", "http://127.0.0.1:9")
    commands.json(*create, SLUICE_PROVIDER_API_KEY="key")
    assert [row["mode"] for row in commands.json("providers", "list")["data"]] == ["live"]


def test_the_stored_key_is_checked_with_another_url(commands: Commands, runtime: Runtime) -> None:
    create = ("providers", "create", "--tenant", "acme", "main", "--adapter", "stripe")
    made = commands.json(*create, SLUICE_PROVIDER_API_KEY="sk_test_a")
    live = runtime.vault.encrypt(encode_credentials({"api_key": "sk_live_a"}))
    commands.databases.rows("update payment_providers set credentials_encrypted = :live", live=live)
    refused = commands.error("providers", "update", made["id"], "--url", "https://stripe.example")
    assert "this account is for live payments" in refused
