"""The demo page in a real browser: to the pay page and back, and what is shown live, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import DESKTOP, PHONE, Demo, WatchedPage, open_page
from tests.support.supervised_stack import SupervisedStack

pytestmark = pytest.mark.browser


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def watched(request: pytest.FixtureRequest, browser: Browser) -> Iterator[WatchedPage]:
    """Provide a page of a new visitor, in both sizes; it must not have logged an error at the end."""
    with open_page(browser, request.param) as opened:
        yield opened


@pytest.fixture
def demo(watched: WatchedPage, full_stack: SupervisedStack) -> Demo:
    """Provide the demo page, open and live."""
    page = Demo(watched, full_stack)
    page.open()
    return page


def test_a_deposit_is_paid(demo: Demo) -> None:
    expect(demo.page.locator("#balances-empty")).to_be_visible()
    demo.watched.assert_fits()
    demo.deposit("1234.50", "EUR")
    expect(demo.page.get_by_text("1,234.50").first).to_be_visible()
    demo.watched.assert_fits()
    demo.press("Pay 1,234.50 EUR")
    demo.expect_title("1,234.50 EUR is in your wallet")
    demo.expect_balance("1,234.50")
    demo.expect_payment("Completed")
    demo.expect_live()
    entry = demo.page.locator("#entries tr")
    expect(entry).to_have_count(1)
    expect(entry).to_contain_text("Deposit")
    expect(entry).to_contain_text("+1,234.50")
    # Both messages are there, also the one that was sent while the browser was on the pay page.
    expect(demo.page.locator("#feed li .what")).to_have_text(["Payment completed", "Pay page ready"])
    demo.watched.assert_fits()


def test_a_second_deposit_adds_up_while_the_page_stays(demo: Demo) -> None:
    """What another tab's payment does is shown here without a reload."""
    demo.deposit("10.00")
    demo.press("Pay 10.00 USD")
    demo.expect_balance("10.00")
    user_id = demo.page.locator("#user").inner_text()
    answer = demo.page.evaluate(
        """async () => {
          const {deposit} = await import('/static/sluice.js');
          const user = sessionStorage.getItem('sluice.user');
          const getToken = async () => (await (await fetch('/demo/token', {
            method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({user_id: user}),
          })).json());
          return deposit({getToken, amount: '5.00', currency: 'USD', userId: user});
        }"""
    )
    assert answer["user_id"] == user_id
    expect(demo.page.locator("#balances .balance-pending")).to_have_text("5.00 pending")
    other = demo.page.context.new_page()
    other.goto(answer["redirect_url"])
    other.get_by_role("button", name="Pay 5.00 USD").click()
    other.wait_for_url("**/demo?**")
    demo.expect_balance("15.00")
    expect(demo.page.locator("#entries tr")).to_have_count(2)


def test_a_deposit_is_declined(demo: Demo) -> None:
    demo.deposit()
    demo.press("Decline")
    demo.expect_title("The payment did not go through")
    demo.expect_payment("Failed")
    expect(demo.page.locator("#journey-detail")).to_have_text(
        "Reason given: The card was declined. Nothing was credited."
    )
    expect(demo.page.locator("#entries-empty")).to_be_visible()
    demo.watched.assert_fits()


@pytest.mark.parametrize(
    ("end", "over", "where"),
    [
        ("win_dispute", "the payment stands", "The 25.00 USD are in your wallet. Nothing is left to do."),
        (
            *("lose_dispute", "the payment was taken back"),
            "Of the 25.00 USD, 25.00 USD were taken out of your wallet again. This is final.",
        ),
    ],
)
def test_a_dispute_is_told_from_its_beginning_to_its_end(demo: Demo, end: str, over: str, where: str) -> None:
    demo.deposit()
    demo.press("Pay 25.00 USD")
    demo.expect_balance("25.00")
    detail = demo.page.locator("#journey-detail")
    demo.stack.sandbox.happen(demo.payment_id, "dispute")
    demo.expect_title("This payment is disputed")
    demo.expect_balance("0.00")
    expect(detail).to_contain_text("25.00 USD were taken out of your wallet again. The provider decides")
    demo.expect_payment("Under review")
    demo.watched.assert_fits()
    demo.stack.sandbox.happen(demo.payment_id, end)
    demo.expect_title(f"The dispute is over: {over}")
    expect(detail).to_contain_text(where)
    # The story stays when the page is read anew: the payment itself does not have it.
    demo.page.reload()
    demo.expect_title(f"The dispute is over: {over}")
    expect(detail).to_contain_text(where)
    demo.watched.assert_fits()


def test_a_deposit_is_cancelled_on_the_pay_page(demo: Demo) -> None:
    demo.deposit()
    demo.press("Cancel")
    demo.expect_title("The payment was cancelled")
    demo.expect_payment("Cancelled")


def test_a_deposit_is_cancelled_on_the_demo_page(demo: Demo) -> None:
    demo.deposit()
    demo.page.go_back()
    demo.expect_live()
    demo.expect_payment("Waiting for payment")
    demo.page.locator("#payments").get_by_role("button", name="Cancel 25.00 USD").click()
    demo.expect_payment("Cancelled")
    expect(demo.page.locator("#payments").get_by_role("button")).to_have_count(0)
    demo.watched.assert_fits()


def test_the_keyboard_is_enough(demo: Demo) -> None:
    demo.page.keyboard.press("Tab")
    expect(demo.page.get_by_role("link", name="Skip to the deposit form")).to_be_focused()
    demo.page.get_by_label("Amount").focus()
    demo.page.get_by_label("Amount").fill("8.00")
    demo.page.keyboard.press("Enter")
    demo.page.wait_for_url(f"{demo.stack.run['sandbox']}/pay/**")
    demo.page.get_by_role("button", name="Pay 8.00 USD").press("Enter")
    demo.expect_title("8.00 USD is in your wallet")
    # Who cannot see the page hears it: the focus is on the news.
    expect(demo.title).to_be_focused()
    expect(demo.page.locator("#announce")).to_contain_text("8.00 USD is in your wallet")


@pytest.mark.parametrize(("amount", "currency"), [("25.001", "USD"), ("1.5", "JPY"), ("", "USD")])
def test_a_wrong_amount_is_named_at_its_field(demo: Demo, amount: str, currency: str) -> None:
    demo.watched.expected += [r"422 .*/api/payments/deposit$", r"status of 422"]
    demo.page.get_by_label("Amount").fill(amount)
    demo.page.get_by_label("Currency").select_option(currency)
    demo.page.get_by_role("button", name="Deposit").click()
    expect(demo.page.locator("#amount-error")).to_be_visible()
    expect(demo.page.locator("#amount-error")).not_to_be_empty()
    expect(demo.page.get_by_label("Amount")).to_be_focused()
    expect(demo.page.get_by_label("Amount")).to_have_attribute("aria-invalid", "true")
    expect(demo.page.get_by_role("button", name="Deposit")).to_have_attribute("aria-disabled", "false")
    expect(demo.page.locator("#payments-empty")).to_be_visible()
    demo.watched.assert_fits()


# Elements whose text is broken over lines inside a number, or wider than they are.
BROKEN_NUMBERS = """() => [...document.querySelectorAll('.amount, .figure, h2')].filter((node) => {
  const range = document.createRange();
  const texts = [...node.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE);
  return node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0 || texts.some((text) =>
    [...text.data.matchAll(/[\\d,.]*\\d/g)].some((found) => {
      range.setStart(text, found.index);
      range.setEnd(text, found.index + found[0].length);
      return range.getClientRects().length > 1;
    }));
}).map((node) => `${node.className}: ${node.textContent}`)"""


@pytest.mark.parametrize(
    ("amount", "currency"), [("9999999999.99", "USD"), ("123456789.123", "KWD"), ("12345.60", "EUR")]
)
def test_numbers_stay_whole_and_nothing_is_cut(demo: Demo, amount: str, currency: str) -> None:
    page = demo.page
    demo.deposit(amount, currency)
    check_widths(demo.watched)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url(f"{demo.stack.run['web']}/demo?**")
    expect(page.locator("#entries tr")).to_have_count(1)
    check_widths(demo.watched)
    # Every part of an entry is in sight without scrolling.
    box = page.locator("#entries-box")
    assert box.evaluate("(node) => node.scrollWidth <= node.clientWidth")


def check_widths(watched: WatchedPage) -> None:
    """Fails where a number is broken or the page scrolls sideways, at each width and in each direction of writing."""
    for width in (360, 390, 1280):
        watched.page.set_viewport_size({"width": width, "height": 900})
        for direction in ("rtl", "ltr"):
            watched.page.evaluate("(direction) => { document.documentElement.dir = direction; }", direction)
            assert watched.page.evaluate(BROKEN_NUMBERS) == [], (width, direction)
            watched.assert_fits()


def test_a_slow_provider_is_shown_and_the_deposit_can_be_cancelled(demo: Demo) -> None:
    demo.stack.sandbox.script(match={"next": 1}, create={"delay": 8})
    demo.page.get_by_role("button", name="Deposit").click()
    demo.expect_title("Asking the provider…")
    expect(demo.page.get_by_text("This takes longer than usual.")).to_be_visible()
    demo.page.locator("#journey").get_by_role("button", name="Cancel 25.00 USD").click()
    demo.expect_title("The payment was cancelled")
    expect(demo.page.get_by_role("button", name="Deposit")).to_have_attribute("aria-disabled", "false")


def test_waiting_for_a_slow_provider_can_be_given_up(demo: Demo) -> None:
    demo.stack.sandbox.script(match={"next": 1}, create={"delay": 8})
    demo.page.get_by_role("button", name="Deposit").click()
    demo.page.get_by_role("button", name="Stop waiting").click()
    expect(demo.page.get_by_role("button", name="Deposit")).to_have_attribute("aria-disabled", "false")
    expect(demo.page.locator("#form-error")).to_be_hidden()
    demo.expect_payment("Waiting for payment")


def test_the_reference_is_readable(watched: WatchedPage, full_stack: SupervisedStack) -> None:
    hosts = set()
    watched.page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    watched.page.goto(f"{full_stack.run['web']}/docs")
    expect(watched.page.get_by_role("heading", name="API reference")).to_be_visible()
    expect(watched.page.get_by_role("heading", name="/api/payments/deposit")).to_be_visible()
    check_widths(watched)
    watched.page.goto(f"{full_stack.run['web']}/docs/reference")
    # Redoc's own text, made of the document: it ran under the content security policy without a complaint.
    expect(watched.page.get_by_role("heading", name="Ask for a deposit")).to_be_visible()
    expect(watched.page.get_by_text("Idempotency-Key").first).to_be_visible()
    watched.assert_fits()
    # Every asset is Sluice's own.
    assert hosts == {full_stack.run["web"].removeprefix("http://")}
