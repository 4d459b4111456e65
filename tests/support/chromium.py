"""The browser of all page tests: Debian's Chromium, headless."""

from __future__ import annotations

import os
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

from tests.support.programs import find_program

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


def launch_chromium() -> Iterator[Browser]:
    """Yield a headless browser and end it; CHROMIUM in the environment names another program."""
    program = os.environ.get("CHROMIUM") or find_program("chromium", *PROGRAMS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()
