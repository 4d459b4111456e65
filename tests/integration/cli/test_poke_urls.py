"""The command line makes URLs for unsigned notifications, shows each once, and replaces them."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest

from app.runtime.vault import Vault
from testbed.servers import Databases
from tests.support.commands import LOCAL, Commands


@pytest.fixture
def commands(databases: Databases) -> Commands:
    made = Commands(databases)
    made.text("tenants", "create", "acme")
    return made


def create(commands: Commands, name: str, adapter: str, url: str) -> dict[str, Any]:
    arguments = ("providers", "create", "--tenant", "acme", name, "--adapter", adapter, "--url", url)
    made: dict[str, Any] = commands.json(
        *arguments, SLUICE_PROVIDER_API_KEY="test_x", SLUICE_PUBLIC_URL="https://pay.example"
    )
    return made


def token_of(row: dict[str, Any]) -> str:
    base, _, token = str(row["poke_url"]).rpartition("/")
    assert base == f"https://pay.example/webhooks/{row['id']}"
    return token


def test_the_url_is_shown_once_and_stored_as_hash_and_encrypted(commands: Commands) -> None:
    made = create(commands, "mollie", "mollie", "https://api.mollie.com")
    token = token_of(made)
    (row,) = commands.databases.rows("select * from poke_tokens")
    assert bytes(row["token_sha256"]) == hashlib.sha256(token.encode()).digest()
    assert Vault([commands.databases.encryption_key]).decrypt(bytes(row["token_encrypted"])) == token
    assert token not in commands.text("providers", "list", "--json")
    assert "poke_url" not in create(commands, "main", "sandbox", "https://sandbox.example")


def test_a_new_url_leaves_the_old_one_its_time(commands: Commands) -> None:
    made = create(commands, "mollie", "mollie", "https://api.mollie.com")
    rotate = ("providers", "rotate-poke-url", made["id"])
    rotated = commands.json(*rotate, SLUICE_PUBLIC_URL="https://pay.example")
    assert token_of(rotated) != token_of(made)
    query = "select extract(epoch from ends_at - now()) / 86400 as days from poke_tokens order by id"
    first, second = commands.databases.rows(query)
    assert (round(first["days"]), second["days"]) == (180, None)
    assert "not shown again" in commands.run(*rotate, "--overlap", "0").stderr
    query = "select count(*) from poke_tokens where ends_at is null or ends_at > now()"
    assert commands.databases.value(query) == 1
    audited = commands.databases.rows("select actor from audit_logs where kind = 'provider_poke_url_rotated'")
    assert audited == [{"actor": LOCAL}] * 2


def test_only_a_provider_that_signs_nothing_has_one(commands: Commands) -> None:
    made = create(commands, "main", "sandbox", "https://sandbox.example")
    assert "are signed" in commands.error("providers", "rotate-poke-url", made["id"])
    assert "there is no provider" in commands.error("providers", "rotate-poke-url", str(uuid.uuid4()))
    assert commands.databases.value("select count(*) from poke_tokens") == 0


def test_a_new_encryption_key_is_for_tokens_too(commands: Commands) -> None:
    create(commands, "mollie", "mollie", "https://api.mollie.com")
    new = commands.text("secrets", "new-key").strip().splitlines()[-1]
    keys = f"{new},{commands.databases.encryption_key}"
    assert commands.json("secrets", "rotate-key", SLUICE_ENCRYPTION_KEYS=keys) == {"secrets": 3}
    stored = commands.databases.value("select token_encrypted from poke_tokens")
    assert Vault([new]).decrypt(bytes(stored)).startswith("whut_")
    assert "3 stored secrets" in commands.run("doctor", SLUICE_ENCRYPTION_KEYS=keys).stdout
