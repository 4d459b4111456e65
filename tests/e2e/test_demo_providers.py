"""The demo page with each emulated provider, in a real browser: chosen, paid on its page, and credited live."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from app.local.emulated_accounts import TITLES
from testbed.waiting import wait_until
from tests.e2e.browser import DESKTOP, PHONE, Demo, open_page
from tests.support.supervised_stack import SupervisedStack

pytestmark = pytest.mark.browser

# One that it takes. Those of them that few others take show that the list of providers follows the currency.
CURRENCIES = {
    "stripe": "USD",
    "mollie": "EUR",
    "paypal": "BRL",
    "adyen": "KWD",
    "paystack": "NGN",
    "razorpay": "INR",
    "gocardless": "GBP",
}
AMOUNTS = {"KWD": "25.000"}
PROMPT = "Confirm the payment on your phone."


@pytest.fixture
def demo(request: pytest.FixtureRequest, browser: Browser, full_stack: SupervisedStack) -> Iterator[Demo]:
    """Provide the demo page of a new visitor, open and live, in a size that the test may choose."""
    with open_page(browser, getattr(request, "param", DESKTOP)) as watched:
        page = Demo(watched, full_stack)
        page.open()
        yield page


def test_there_is_a_case_for_each_emulator() -> None:
    assert CURRENCIES.keys() == TITLES.keys()


@pytest.mark.parametrize(
    ("adapter", "demo"), [*zip(CURRENCIES, itertools.cycle([DESKTOP, PHONE]), strict=False)], indirect=["demo"]
)
def test_a_deposit_is_paid_at_each_emulator(demo: Demo, adapter: str) -> None:
    currency, name = CURRENCIES[adapter], f"{TITLES[adapter]} emulator"
    amount = AMOUNTS.get(currency, "25.00")
    demo.deposit(amount, currency, name)
    expect(demo.page.locator("dl")).to_contain_text(f"{TITLES[adapter]}, emulated")
    demo.watched.assert_fits()
    demo.press(f"Pay {amount} {currency}")
    demo.expect_title(f"{amount} {currency} is in your wallet")
    demo.expect_balance(amount)
    demo.expect_payment("Completed")
    expect(demo.page.locator("#payments li .by")).to_have_text(name)
    # The next deposit begins with the same choice.
    expect(demo.page.get_by_label("Currency")).to_have_value(currency)
    expect(demo.page.get_by_label("Provider").locator("option:checked")).to_have_text(name)
    demo.watched.assert_fits()
    # It was not a poll: the emulator and Sluice know the same secret.
    settled = (
        "select from payment_webhooks w join payment_providers p on p.id = w.provider_id"
        " where p.name = :name and w.status = 'processed'"
    )
    wait_until(lambda: demo.stack.rows(settled, name=name), "a webhook of it is settled")


def test_only_providers_that_take_the_currency_are_offered(demo: Demo) -> None:
    offered = demo.page.get_by_label("Provider").locator("option")
    expect(offered.first).to_have_text("sandbox")
    demo.page.get_by_label("Currency").select_option("NGN")
    expect(offered.filter(has_text="Paystack")).to_have_count(1)
    expect(offered.filter(has_text="GoCardless")).to_have_count(0)
    demo.page.get_by_label("Provider").select_option(label="Paystack emulator")
    demo.page.get_by_label("Currency").select_option("GBP")
    expect(offered.filter(has_text="GoCardless")).to_have_count(1)
    expect(offered.filter(has_text="Paystack")).to_have_count(0)
    # What does not take it is not chosen any more.
    expect(demo.page.get_by_label("Provider").locator("option:checked")).to_have_text("sandbox")


def test_a_payer_is_asked_on_a_device(demo: Demo) -> None:
    demo.stack.sandbox.script(match={"next": 1}, create={"show": {"redirect_url": None, "prompt": PROMPT}})
    demo.page.get_by_role("button", name="Deposit").click()
    demo.expect_title("Confirm on your device")
    expect(demo.page.locator("#journey-detail")).to_have_text(PROMPT)
    expect(demo.page.locator("#payments li .prompt")).to_have_text(PROMPT)
    expect(demo.page.get_by_role("link", name="Open pay page")).to_have_count(0)
    demo.watched.assert_fits()
    demo.stack.sandbox.happen(demo.payment_id, "pay")
    demo.expect_title("25.00 USD is in your wallet")


def test_a_payer_waits_for_the_bank(demo: Demo) -> None:
    # The payer is back before the provider says anything, and what it says then makes no message.
    late = {"send": [{"delay": 3}], "times": 1}
    demo.stack.sandbox.script(match={"next": 1}, webhook=late)
    demo.deposit("9.00", "EUR", "Stripe emulator")
    demo.press("Pay by bank, settled later")
    demo.expect_title("Confirming your payment…")
    demo.expect_title("Waiting for your bank")
    demo.expect_payment("Waiting for the bank")
    demo.stack.sandbox.happen(demo.payment_id, "pay")
    demo.expect_title("9.00 EUR is in your wallet")
