"""A sandbox for each module, and a receiver of its webhooks for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Give a running sandbox with one merchant."""
    running = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.close()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """Give a server for webhooks."""
    running = WebhookReceiver()
    yield running
    running.close()
