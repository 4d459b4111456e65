"""A shop whose provider waits for captures, and its backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from testbed.stack import Stack
from tests.integration.captures.approving_provider import ApprovingAdapter, ApprovingProvider
from tests.integration.provider_calls.odd_provider import open_odd_provider
from tests.support.clients.api import Api
from tests.support.engine import Engine


@pytest.fixture
def provider(front: Stack) -> Iterator[ApprovingProvider]:
    """Provide a shop of the test's own whose provider waits for captures."""
    shop = front.make_shop()
    runtime = replace(shop.runtime)
    runtime.adapters["sandbox"] = ApprovingAdapter(frozenset(runtime.settings.private_providers))
    shop = replace(shop, runtime=runtime)
    with open_odd_provider(Engine(runtime, front.databases), shop) as odd:
        yield ApprovingProvider(odd)


@pytest.fixture
def buyer(front: Stack, provider: ApprovingProvider) -> Api:
    """Provide the shop's backend."""
    return Api(front.web, provider.shop.secret_key)
