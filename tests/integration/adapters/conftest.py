"""Fixtures of adapters that are used through running processes."""

from __future__ import annotations

import pytest

from testbed.stack import Stack


@pytest.fixture(scope="module")
def working(stack: Stack) -> Stack:
    """All processes that a deposit needs."""
    stack.start("web", "sandbox", "worker-settle", "worker-provider")
    return stack
