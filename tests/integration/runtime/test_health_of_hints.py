"""A web process that cannot ring or cannot receive hints takes deposits, and its health says what does not work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis

from testbed.servers import Servers
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api

USER, PASSWORD = "limited", "secret"


@pytest.fixture(scope="module")
def limited(servers: Servers) -> Iterator[tuple[Stack, Redis]]:
    """Provide a web process whose Redis user may not do everything, and the administrator's client."""
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        admin = stack.runtime.redis
        allow(admin, "+@all")
        parts = urlsplit(opened.redis_url)
        url = parts._replace(netloc=f"{USER}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}").geturl()
        stack.start("web", REDIS_URL=url, BROKER_URL=url)
        yield stack, admin
        admin.execute_command("ACL", "DELUSER", USER)


def allow(admin: Redis, *rules: str) -> None:
    admin.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "~*", "&*", *rules)


def ready(stack: Stack) -> dict[str, Any]:
    answer = requests.get(f"{stack.web}/health/ready", timeout=10)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(
    ("denied", "failing"), [(("-lpush",), ["ring"]), (("-subscribe",), ["subscription"]), (("-ping",), ["redis"])]
)
def test_health_names_what_does_not_work(
    limited: tuple[Stack, Redis], denied: tuple[str, ...], failing: list[str]
) -> None:
    stack, admin = limited
    allow(admin, "+@all", *denied)
    # Connections keep the rights that they began with.
    admin.execute_command("CLIENT", "KILL", "USER", USER)
    api = Api(stack.web, stack.make_shop().secret_key)

    def is_named() -> bool:
        # Rings, and waits for a hint; both work without Redis, later.
        created = api.deposit(headers={"Prefer": "wait=1"})
        assert created.status_code == 202, created.text
        body = ready(stack)
        return bool(body["status"] == "degraded" and body["failing"] == failing)

    wait_until(is_named, f"degraded: {failing}", 20)
    allow(admin, "+@all")
    admin.execute_command("CLIENT", "KILL", "USER", USER)
    wait_until(lambda: ready(stack) == {"status": "ok", "failing": [], "detail": {}}, "well again", 20)
