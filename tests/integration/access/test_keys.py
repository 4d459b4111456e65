"""Secret keys that end, when they were last used, and how their tenant sees them (CONTRACT section 2)."""

from __future__ import annotations

import datetime
import time
import uuid

import pytest

from app.services.access.callers import create_ticket, recognise, take_ticket
from app.services.tenants import tenants
from app.services.tenants.changes import ConfigurationError
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api, problem_of
from tests.support.commands import Commands

LAST_USED = "select last_used_at from api_keys where id = :id"


def new_key(front: Stack, shop: Shop, seconds: float) -> tuple[uuid.UUID, str]:
    """Make a key that ends in so many seconds."""
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return tenants.create_key(front.runtime, shop.tenant_id, "shop", "till", ACTOR, ends)


@pytest.mark.serial
def test_a_key_ends_at_its_time_and_its_tokens_with_it(front: Stack, shop: Shop) -> None:
    key_id, key = new_key(front, shop, 3600)
    backend = Api(front.web, key)
    token = backend.post("/api/client-tokens", {"user_id": "ann"}).json()["token"]
    client = recognise(front.runtime.database, token)
    assert client is not None
    ticket, _ = create_ticket(front.runtime, client)
    assert backend.get("/api/payments").status_code == 200
    assert Api(front.web, token).get("/api/payments").status_code == 200
    front.databases.rows("update api_keys set expires_at = now() where id = :id", id=key_id)
    ended = time.monotonic()
    for credential in (key, token):
        wait_until(lambda c=credential: Api(front.web, c).get("/api/payments").status_code == 401, "it is refused")  # type: ignore[misc]
    assert time.monotonic() - ended < 4.0
    assert take_ticket(front.runtime.database, ticket) is None
    dead = front.databases.value("select door_dead_tokens(array[:id]::uuid[])", id=str(client.token_id))
    assert dead == client.token_id


def test_a_token_says_that_it_ends_with_its_key(front: Stack, shop: Shop, api: Api) -> None:
    key_id, key = new_key(front, shop, 60)
    ends = front.databases.value("select expires_at from api_keys where id = :id", id=key_id)
    made = Api(front.web, key).post("/api/client-tokens", {"user_id": "ann"}).json()
    assert datetime.datetime.fromisoformat(made["expires_at"].replace("Z", "+00:00")) == ends
    others = api.post("/api/client-tokens", {"user_id": "ann"}).json()["expires_at"]
    lasts = datetime.datetime.fromisoformat(others.replace("Z", "+00:00")) - datetime.datetime.now(datetime.UTC)
    assert 800 < lasts.total_seconds() <= 900


def test_a_key_that_has_ended_is_not_made(front: Stack, shop: Shop) -> None:
    with pytest.raises(ConfigurationError):
        new_key(front, shop, -1)


def test_the_last_use_is_kept_and_costs_one_write_a_minute(front: Stack, shop: Shop) -> None:
    key_id, key = new_key(front, shop, 3600)
    unused_id, _ = new_key(front, shop, 3600)
    for _ in range(5):
        assert Api(front.web, key).get("/api/payments").status_code == 200
    first = wait_until(lambda: front.databases.value(LAST_USED, id=key_id), "the use is written")
    assert abs((datetime.datetime.now(datetime.UTC) - first).total_seconds()) < 30
    written = "select xmin::text from api_keys where id = :id"
    version = front.databases.value(written, id=key_id)
    for _ in range(20):
        assert Api(front.web, key).get("/api/payments").status_code == 200
    assert front.databases.value(written, id=key_id) == version
    assert front.databases.value(LAST_USED, id=unused_id) is None


def test_a_refused_key_was_not_used(front: Stack, shop: Shop) -> None:
    key_id, key = new_key(front, shop, 3600)
    tenants.revoke_key(front.runtime, key_id, ACTOR)
    problem_of(Api(front.web, key).get("/api/payments"), 401)
    assert front.databases.value(LAST_USED, id=key_id) is None


def test_a_tenants_administrators_see_its_keys_without_their_secrets(front: Stack, shop: Shop, api: Api) -> None:
    other = front.make_shop()
    key_id, key = new_key(front, shop, 3600)
    tenants.revoke_key(front.runtime, key_id, ACTOR)
    answer = api.get("/api/keys")
    assert answer.status_code == 200
    rows = {row["id"]: row for row in answer.json()["data"]}
    assert rows.keys() == {str(shop.key_id), str(key_id)}
    shown = rows[str(key_id)]
    assert shown.keys() == {
        *("id", "key", "role", "label", "created_at", "expires_at", "last_used_at", "revoked_at"),
    }
    assert (shown["role"], shown["label"], shown["key"]) == ("shop", "till", key.split(".")[0] + "...")
    assert shown["expires_at"].endswith("Z")
    assert shown["revoked_at"]
    for secret in (key.split(".")[1], shop.secret_key.split(".")[1], str(other.key_id)):
        assert secret not in answer.text


@pytest.fixture
def commands(databases: Databases) -> Commands:
    """Provide the command line on databases of the test's own."""
    return Commands(databases)


@pytest.mark.parametrize(
    ("expires", "seconds"), [("90d", 90 * 86_400), ("2h", 7200), ("2099-01-31", None), ("2099-01-31T12:00:00Z", None)]
)
def test_the_command_line_makes_keys_that_end(
    commands: Commands, databases: Databases, tenant: Shop, expires: str, seconds: int | None
) -> None:
    before = datetime.datetime.now(datetime.UTC)
    made = commands.json("keys", "create", "--tenant", str(tenant.tenant_id), "--role", "shop", "--expires", expires)
    ends = databases.value("select expires_at from api_keys where id = :id", id=made["id"])
    if seconds is None:
        assert ends.year == 2099
    else:
        assert seconds <= (ends - before).total_seconds() < seconds + 60
    assert datetime.datetime.fromisoformat(made["expires_at"].replace("Z", "+00:00")) == ends
    (listed,) = [
        row
        for row in commands.json("keys", "list", "--tenant", str(tenant.tenant_id))["data"]
        if row["id"] == made["id"]
    ]
    assert (listed["expires_at"], listed["last_used_at"]) == (made["expires_at"], None)


@pytest.mark.parametrize("expires", ["2020-01-31", "yesterday", "0s", "-1d", "99999d"])
def test_an_end_that_is_none_is_refused(commands: Commands, tenant: Shop, expires: str) -> None:
    done = commands.run("keys", "create", "--tenant", str(tenant.tenant_id), "--expires", expires)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
