"""The browser of all page tests: Debian's Chromium, headless."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    # Its sandbox needs rights that root in a container does not have.
    "--no-sandbox",
    "--disable-gpu",
    # Its background services would call out to the network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def is_ci() -> bool:
    """Whether this run is the gate, where a test that cannot run is a failure."""
    return os.environ.get("CI", "").lower() == "true"


def find_chromium() -> str:
    """Return the browser's program; skip the test without one, except in CI, where that is an error."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found:
        return found
    reason = f"NO BROWSER TEST WAS RUN: none of {', '.join(PROGRAMS)} is installed, and CHROMIUM names none"
    if is_ci():
        raise RuntimeError(reason)
    pytest.skip(reason)


def launch_chromium() -> Iterator[Browser]:
    """Yield a headless browser and end it."""
    program = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()
