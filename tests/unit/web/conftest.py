"""A page in a real browser that has the client module, and the server that it calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.unit.web.false_backend import Backend


@pytest.fixture
def backend() -> Iterator[Backend]:
    """Give a server whose answers the test sets."""
    server = Backend()
    yield server
    server.close()


@pytest.fixture
def page(browser: Browser, backend: Backend) -> Iterator[Page]:
    """Give a page that has imported the client module."""
    page = browser.new_page()
    page.goto(backend.url)
    # The pauses between tries are random; small ones keep the tests short and their length the same.
    page.evaluate("() => { Math.random = () => 0.05; }")
    page.evaluate("async () => { window.sluice = await import('/static/sluice.js'); }")
    yield page
    page.close()
