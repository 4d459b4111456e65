"""A Chromium that records every error on a page, and the demo page as a person uses it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from playwright.sync_api import Browser, ConsoleMessage, Page, Response, ViewportSize, expect

from tests.support.supervised_stack import SupervisedStack

WAIT_MILLISECONDS = 20_000  # A page on a busy two-core machine; what takes longer never comes.
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
# Says what the content security policy kept the page from doing, also where the console stays silent.
REPORT_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass
class WatchedPage:
    """A page and whatever its browser complained of; `expected` are patterns of complaints that the test provokes."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WAIT_MILLISECONDS)
        self.page.add_init_script(REPORT_VIOLATIONS)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def assert_content(self) -> None:
        """Fails if the browser complained of anything that the test did not provoke."""
        left = [text for text in self.complaints if not any(re.search(known, text) for known in self.expected)]
        assert left == []

    def assert_fits(self) -> None:
        """Fails if the page can be scrolled sideways."""
        inner, outer = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert inner <= outer, f"{inner} px of content on {outer} px"


@contextlib.contextmanager
def open_page(browser: Browser, viewport: ViewportSize) -> Iterator[WatchedPage]:
    """Open a page of a new visitor; it must not have logged an error at the end."""
    expect.set_options(timeout=WAIT_MILLISECONDS)
    with browser.new_context(viewport=viewport, locale="en-GB") as context:
        opened = WatchedPage(context.new_page())
        yield opened
        opened.assert_content()


class Demo:
    """The demo page, by what a person sees and presses."""

    def __init__(self, watched: WatchedPage, stack: SupervisedStack) -> None:
        self.watched, self.page, self.stack = watched, watched.page, stack
        self.title = self.page.locator("#journey-title")

    @property
    def payment_id(self) -> str:
        """The id of the payment that the page shows."""
        return self.page.locator("#payment-id").inner_text().split()[-1]

    def open(self) -> None:
        """Open the page and waits until it is live."""
        self.page.goto(f"{self.stack.run['web']}/demo")
        self.expect_live()

    def expect_live(self) -> None:
        """Wait until the page says that its live connection stands."""
        expect(self.page.locator("#link-text")).to_have_text("Live")

    def deposit(self, amount: str = "25.00", currency: str = "USD", provider: str | None = None) -> None:
        """Fill in the form, presses the button and waits for the external app's pay page."""
        self.page.get_by_label("Amount").fill(amount)
        self.page.get_by_label("Currency").select_option(currency)
        if provider is not None:
            self.page.get_by_label("Provider").select_option(label=provider)
        self.page.get_by_role("button", name="Deposit").click()
        self.page.wait_for_url(f"{self.stack.run['sandbox']}/pay/**")

    def press(self, button: str) -> None:
        """Presses a button of the pay page and waits until the browser is back on the demo page."""
        self.page.get_by_role("button", name=button).click()
        self.page.wait_for_url(f"{self.stack.run['web']}/demo?**")

    def expect_title(self, text: str) -> None:
        """Wait until the page says this of the deposit."""
        expect(self.title).to_have_text(text)

    def expect_balance(self, text: str) -> None:
        """Wait until the wallet shows this balance."""
        expect(self.page.locator("#balances .balance")).to_have_text(text)

    def expect_payment(self, text: str) -> None:
        """Wait until the newest line of the payments says this."""
        expect(self.page.locator("#payments li").first.locator(".chip")).to_have_text(text)
