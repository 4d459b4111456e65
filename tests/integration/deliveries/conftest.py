"""Fixtures for deliveries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.servers import Databases
from tests.integration.deliveries.endpoint_requests import Backend, open_backend


@pytest.fixture
def backend(databases: Databases) -> Iterator[Backend]:
    """Provide a tenant that may have endpoints on this machine."""
    with open_backend(databases) as opened:
        yield opened
