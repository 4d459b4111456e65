"""The words of the demo page, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("payment", "title", "tone"),
    [
        ({"status": "pending"}, "Asking the provider…", "open"),
        ({"status": "processing"}, "Confirming your payment…", "open"),
        (
            {"status": "processing", "next_action": {"type": "prompt", "message": "Confirm it on your phone."}},
            "Confirm on your device",
            "open",
        ),
        ({"status": "processing", "committed_until": "2026-12-01T00:00:00Z"}, "Waiting for your bank", "open"),
        ({"status": "completed"}, "1,234,567.50 USD is in your wallet", "done"),
        ({"status": "completed", "exception": "late"}, "1,234,567.50 USD is in your wallet", "done"),
        ({"status": "completed", "received_amount": "3.00"}, "3.00 USD is in your wallet", "done"),
        ({"status": "failed", "failure_reason": "card_declined"}, "The payment did not go through", "ended"),
        ({"status": "cancelled"}, "The payment was cancelled", "ended"),
        ({"status": "cancelled", "failure_reason": "expired"}, "Nobody paid in time", "ended"),
        (
            {"status": "cancelled", "exception": "late", "received_amount": "3.00", "received_currency": "USD"},
            "3.00 USD came too late",
            "review",
        ),
        ({"status": "completed", "exception": "overpaid"}, "More money came than was asked for", "review"),
        ({"status": "processing", "exception": "underpaid"}, "Your payment is under review", "review"),
        ({"status": "completed", "exception": "conflict"}, "Your payment is under review", "review"),
        ({"status": "completed", "exception": "reversed"}, "1,234,567.50 USD was paid back", "ended"),
    ],
)
def test_the_demo_page_shows_each_state(page: Page, payment: dict[str, Any], title: str, tone: str) -> None:
    whole = {"amount": "1234567.50", "currency": "USD", "exception": None, "failure_reason": None, **payment}
    reported = page.evaluate(
        "async (payment) => (await import('/static/demo/words.js')).journey(payment, 'success')", whole
    )
    assert (reported["title"], reported["tone"]) == (title, tone)


@pytest.mark.parametrize(
    ("field", "message", "text"),
    [
        (
            "amount",
            'must be a decimal string such as "25.00", without sign, blank or exponent',
            "Enter the amount in digits, for example 25.00.",
        ),
        ("amount", 'must be a decimal string such as "25.00"', "Enter the amount in digits, for example 25.00."),
        ("amount", "has more than the 0 decimals that JPY has", "Amounts in JPY have no decimals, for example 25."),
        ("amount", "has more than the 2 decimals that JPY has", "Amounts in JPY have at most 2 decimals."),
        ("amount", "must be greater than zero", "Enter an amount above zero."),
        ("amount", "must be at most 1000000 JPY", "Enter at most 1,000,000 JPY."),
        ("amount", "must be at least 100 JPY", "Enter at least 100 JPY."),
        ("amount", "is anything else", "Enter the amount in digits, for example 25.00."),
        ("currency", "is not supported by the provider", "This currency cannot be paid in here."),
        ("success_url", "must be an absolute URL", "The deposit was not accepted. Please check what you entered."),
    ],
)
def test_the_demo_page_words_errors_for_people(page: Page, field: str, message: str, text: str) -> None:
    error = {"field": field, "message": message}
    reported = page.evaluate("async (error) => (await import('/static/demo/words.js')).errorText(error, 'JPY')", error)
    assert reported == text


@pytest.mark.parametrize(
    ("kind", "why", "text"),
    [
        ("refund.completed", "late", "Your late money went back to you"),
        ("refund.failed", "overpaid", "What you paid too much could not go back yet"),
        ("refund.completed", "came back", "Refund completed"),
        ("refund.failed", None, "Refund failed"),
    ],
)
def test_the_demo_page_says_why_a_policy_gives_money_back(page: Page, kind: str, why: str | None, text: str) -> None:
    message = {"type": kind, "refund": {"reason": why}}
    said = page.evaluate("async (message) => (await import('/static/demo/words.js')).eventText(message)", message)
    assert said == text


@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_the_demo_page_shows_no_error_of_a_program(page: Page, status: int) -> None:
    error = {"status": status, "message": "TypeError: x is not a function"}
    reported = page.evaluate("async (error) => (await import('/static/demo/words.js')).failureText(error)", error)
    assert reported.endswith(".")
    assert "TypeError" not in reported


def test_the_demo_page_never_opens_an_address_that_is_no_web_page(page: Page) -> None:
    addresses = [None, "", "javascript:alert(1)", "data:text/html,x", "https://pay.example/p?x=1"]
    opened = page.evaluate(
        """async (addresses) => {
          const { payPage } = await import('/static/demo/view.js');
          return addresses.map((address) => payPage({ redirect_url: address }));
        }""",
        addresses,
    )
    assert opened == [None, None, None, None, "https://pay.example/p?x=1"]


def test_a_declined_attempt_is_said_to_a_payer_who_came_back(page: Page) -> None:
    payment = {"status": "processing", "amount": "25.00", "currency": "USD", "exception": None}
    reported = page.evaluate(
        "async (payment) => (await import('/static/demo/words.js')).journey(payment, 'failure')",
        payment | {"last_attempt_error": "The card was declined."},
    )
    assert reported["title"] == "Your last attempt to pay was declined"
    assert reported["detail"] == "Reason given: The card was declined. You can try again or cancel."


ASKED = "The payer’s bank asks for the money back."
DECIDES = "The provider decides; what it decides shows up here by itself."
REFUSED = "The payer’s bank had asked for the money back, and the provider turned it down."
AGREED = "The payer’s bank asked for the money back, and the provider agreed."
HERE, TAKEN = "The 25.00 USD are in your wallet.", "Of the 25.00 USD, 25.00 USD were taken out of your wallet again."


@pytest.mark.parametrize(
    ("status", "gone", "title", "detail", "tone"),
    [
        ("opened", 0, "This payment is disputed", f"{ASKED} {HERE} {DECIDES}", "review"),
        ("opened", 2500, "This payment is disputed", f"{ASKED} {TAKEN} {DECIDES}", "review"),
        ("won", 0, "The dispute is over: the payment stands", f"{REFUSED} {HERE} Nothing is left to do.", "done"),
        (
            *("won", 2500, "The dispute is over: the payment stands"),
            f"{REFUSED} {TAKEN} It comes back by itself as soon as the provider returns it.",
            "done",
        ),
        (
            *("lost", 0, "The dispute is over: the payment was taken back"),
            f"{AGREED} {HERE} The provider takes it back; that shows up here by itself.",
            "ended",
        ),
        ("lost", 2500, "The dispute is over: the payment was taken back", f"{AGREED} {TAKEN} This is final.", "ended"),
    ],
)
def test_a_dispute_is_told_in_plain_words(
    page: Page, status: str, gone: int, title: str, detail: str, tone: str
) -> None:
    payment = {"status": "completed", "amount": "25.00", "currency": "USD", "reversed_amount_minor": gone}
    assert tell_dispute(page, payment, {"status": status}) == (title, detail, tone)


def tell_dispute(page: Page, payment: dict[str, Any], dispute: dict[str, Any]) -> tuple[str, str, str]:
    """Return title, detail and tone of what the page shows of a disputed payment."""
    reported = page.evaluate(
        "async (about) => (await import('/static/demo/disputes.js')).disputeJourney(...about)", [payment, dispute]
    )
    return reported["title"], reported["detail"], reported["tone"]


@pytest.mark.parametrize(
    ("amount", "currency", "gone", "text"),
    [("2500", "JPY", 700, "700 JPY"), ("25.000", "KWD", 7, "0.007 KWD"), ("1234.50", "EUR", 123450, "1,234.50 EUR")],
)
def test_what_a_dispute_took_has_the_digits_of_its_currency(
    page: Page, amount: str, currency: str, gone: int, text: str
) -> None:
    payment = {"status": "completed", "amount": amount, "currency": currency, "reversed_amount_minor": gone}
    assert f", {text} were taken out" in tell_dispute(page, payment, {"status": "opened"})[1]
