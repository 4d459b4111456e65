"""One running stack for all end-to-end tests that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.frontend import Frontend
from tests.support.supervised_stack import STOP_SECONDS, SupervisedStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedStack]:
    """A whole stack, started once; at the end nothing of it may be left."""
    running = SupervisedStack(tmp_path_factory.mktemp("stack") / "home")
    try:
        running.start()
        yield running
        assert running.stop() < STOP_SECONDS
    finally:
        running.end()


@pytest.fixture
def frontend(stack: SupervisedStack) -> Frontend:
    """A user nobody has seen before."""
    return Frontend(stack)
