"""One running stack for all end-to-end tests that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.frontend import Frontend
from tests.support.supervised_stack import STOP_SECONDS, SupervisedStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedStack]:
    """Provide a whole stack, started once; no process or file of it may be left at the end."""
    running = SupervisedStack(tmp_path_factory.mktemp("stack") / "home")
    try:
        running.start()
        yield running
        assert running.stop() < STOP_SECONDS
    finally:
        running.end()


@pytest.fixture
def frontend(stack: SupervisedStack) -> Frontend:
    """Provide a user without a history."""
    return Frontend(stack)
