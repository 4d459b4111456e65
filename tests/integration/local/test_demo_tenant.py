"""The demo tenant of `sluice up`: made once, and completed in a home of an earlier release."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from app.local.bootstrap import prepare
from app.local.emulated_accounts import EMULATED, TITLES
from app.runtime.settings import Settings
from testbed.servers import Databases


@pytest.fixture
def settings(databases: Databases, tmp_path: Path) -> Settings:
    """Provide the settings of a stack that starts in a new home."""
    return Settings.from_environment(
        databases.environment
        | {"SLUICE_HOME": str(tmp_path), "SLUICE_ENCRYPTION_KEYS": "", "SLUICE_SANDBOX_PORT": "8001"}
    )


def read_providers(databases: Databases) -> dict[str, dict[str, Any]]:
    """Return the providers by name."""
    columns = "name, id::text, adapter, api_base_url, client_selectable, mode"
    return {row["name"]: row for row in databases.rows(f"select {columns} from payment_providers")}


def test_the_demo_tenant_has_a_provider_at_each_emulator(settings: Settings, databases: Databases) -> None:
    demo = prepare(settings)
    providers = read_providers(databases)
    assert providers.keys() == {"sandbox", *(f"{TITLES[adapter]} emulator" for adapter in EMULATED)}
    default = databases.value("select default_provider_id::text from tenants")
    assert default == providers["sandbox"]["id"] == demo.provider_id
    for adapter, account in demo.accounts.items():
        found = providers[f"{TITLES[adapter]} emulator"]
        assert (found["id"], found["mode"]) == (account.provider_id, "test")
        assert (found["api_base_url"], found["client_selectable"]) == (f"http://127.0.0.1:8001/{adapter}", True)


def test_another_start_changes_only_addresses(settings: Settings, databases: Databases) -> None:
    first = prepare(settings)
    before = read_providers(databases)
    assert prepare(dataclasses.replace(settings, sandbox_port=8101)) == first
    after = read_providers(databases)
    assert after == {
        name: row | {"api_base_url": row["api_base_url"].replace("8001", "8101")} for name, row in before.items()
    }


def test_the_home_of_an_earlier_release_gets_the_emulators(settings: Settings, databases: Databases) -> None:
    whole = prepare(settings)
    path = settings.home / "demo.json"
    content = json.loads(path.read_text())
    del content["accounts"]
    path.write_text(json.dumps(content))
    emulated = "select id from payment_providers where adapter <> 'sandbox'"
    for table in ("poke_tokens", "provider_secrets"):
        databases.rows(f"delete from {table} where provider_id in ({emulated})")
    databases.rows(f"delete from payment_providers where id in ({emulated})")
    completed = prepare(settings)
    assert dataclasses.replace(completed, accounts=whole.accounts) == whole
    assert completed.accounts.keys() == EMULATED.keys()
    assert len(read_providers(databases)) == 1 + len(EMULATED)
    assert json.loads(path.read_text())["accounts"].keys() == EMULATED.keys()
