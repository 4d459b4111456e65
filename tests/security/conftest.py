"""One web process for the tests that stand at its door, and tenants who do not know each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.servers import Servers
from testbed.shop import Shop
from testbed.stack import Stack


@pytest.fixture(scope="session")
def web_stack(servers: Servers) -> Iterator[Stack]:
    """Provide a stack of only the web process, for the session; these tests need no workers."""
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        stack.start("web")
        yield stack


@pytest.fixture(scope="session")
def behind_proxy(servers: Servers) -> Iterator[Stack]:
    """Provide a web process behind exactly one proxy, for the session: the test is the proxy."""
    with servers.open_databases() as opened, Stack.open(opened, TRUSTED_PROXIES="1") as stack:
        stack.start("web")
        yield stack


@pytest.fixture
def shop(web_stack: Stack) -> Shop:
    """Provide a tenant of its own for each test."""
    return web_stack.make_shop()
