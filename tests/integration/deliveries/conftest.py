"""Fixtures for deliveries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.servers import Databases, Servers
from tests.integration.deliveries.endpoint_requests import Backend, open_backend


@pytest.fixture(scope="module")
def shared_databases(servers: Servers) -> Iterator[Databases]:
    """Provide databases that the tests of a module use one after the other."""
    with servers.open_databases() as opened:
        yield opened


@pytest.fixture
def backend(shared_databases: Databases) -> Iterator[Backend]:
    """Provide a tenant that may have endpoints on this machine; no other has any."""
    with open_backend(shared_databases) as opened:
        yield opened
