"""What of a provider's answers is kept: states, references and URLs that are what they should be."""

from __future__ import annotations

import pytest

from app.core.errors import ProviderCallFailed
from app.core.validation.provider_values import REDIRECT_URL_LENGTH_MAX, REFERENCE_LENGTH_MAX
from app.services.operators.reconciliation import reconcile
from tests.integration.provider_calls.odd_provider import (
    ATTEMPTS,
    GOOD,
    OddProvider,
    encode_answer,
    encode_json,
)


@pytest.mark.parametrize("message", [5, ["declined"], {"text": "declined"}, True, 1.5])
@pytest.mark.parametrize("status", ["declined", "open"])
def test_an_error_message_that_is_no_text_takes_nothing_from_the_state(
    odd: OddProvider, status: str, message: object
) -> None:
    payment = odd.start(status=status, error_message=message)
    odd.engine.ask(payment.id)
    assert odd.shop.payment(payment.id).status == {"declined": "failed", "open": "processing"}[status]
    assert odd.failures() == 0


def test_an_answer_about_another_payment_is_not_believed(odd: OddProvider) -> None:
    other = odd.start()
    payment = odd.start(status="declined", merchant_reference=str(other.id))
    odd.engine.ask(payment.id)
    assert odd.shop.payment(payment.id).status == "processing"
    assert odd.alarms("provider_answer_unexpected") == 1


URLS = [
    *("javascript:alert(1)", "data:text/html,x", "/pay/1", "//pay.example/1", "https://pay.example/\r\nX: y"),
    *("https://pay.example@evil.example/", "https://pay.example/" + "x" * 900_000, "", "ftp://pay.example/"),
]


@pytest.mark.parametrize("url", [*URLS, 5, ["https://pay.example/"]], ids=range(len(URLS) + 2))
def test_a_url_that_no_browser_may_follow_is_never_kept(odd: OddProvider, url: object) -> None:
    odd.answer(encode_json(201, **(GOOD | {"redirect_url": url})), encode_json(201, **GOOD))
    payment = odd.shop.deposit()
    odd.engine.call()
    after = odd.shop.payment(payment.id)
    assert (after.status, after.redirect_url, after.provider_reference) == ("pending", None, None)
    assert (odd.failures(), odd.alarms("provider_answer_unexpected")) == (0, 1)
    odd.call_again(payment)
    assert odd.shop.payment(payment.id).redirect_url == GOOD["redirect_url"]


@pytest.mark.parametrize("status", ["open", "paid", "declined"])
def test_a_url_that_a_poll_brings_is_checked_as_well(odd: OddProvider, status: str) -> None:
    # As after a webhook that was faster than the answer to the create call: no URL is known yet.
    payment = odd.shop.deposit()
    body = GOOD | {
        "redirect_url": "javascript:alert(1)",
        "status": status,
        "received_amount": "25.00",
        "currency": "USD",
    }
    odd.answer(encode_json(200, data=[body]))
    odd.engine.databases.rows("update payment_work set action = 'poll' where payment_id = :id", id=payment.id)
    odd.engine.ask(payment.id)
    after = odd.shop.payment(payment.id)
    assert after.redirect_url is None
    # Money and refusals are not held up by it.
    assert after.status == {"open": "pending", "paid": "completed", "declined": "failed"}[status]


LONGEST = "r" * REFERENCE_LENGTH_MAX


def test_the_longest_reference_is_the_same_in_every_way(odd: OddProvider) -> None:
    odd.answer(encode_json(201, **(GOOD | {"reference": LONGEST})))
    payment = odd.shop.deposit()
    odd.engine.call()
    payment = odd.shop.payment(payment.id)
    assert payment.provider_reference == LONGEST
    odd.shop.deliver(odd.shop.body(payment))
    odd.engine.settle()
    done = odd.shop.payment(payment.id)
    assert (done.status, done.exceptions) == ("completed", frozenset())
    row = GOOD | {
        "reference": LONGEST,
        "status": "paid",
        "received_amount": "25.00",
        "currency": "USD",
        "merchant_reference": str(payment.id),
        "refunded_amount": "0.00",
    }
    odd.answer(encode_json(200, data=[row], next_cursor=None))
    report = reconcile(
        odd.engine.runtime, odd.shop.provider_id, done.created_at, done.created_at.replace(year=2100), "operator:test"
    )
    assert (report.compared, report.differences) == (1, [])


def test_a_reference_that_cannot_be_kept_is_refused_never_cut(odd: OddProvider) -> None:
    odd.answer(encode_json(201, **(GOOD | {"reference": LONGEST + "r"})))
    payment = odd.shop.deposit()
    odd.engine.call()
    assert odd.shop.payment(payment.id).provider_reference is None
    assert (odd.failures(), odd.alarms("provider_answer_unexpected")) == (0, 1)
    odd.shop.deliver(odd.shop.body(payment, provider_reference=LONGEST + "r"))
    odd.engine.settle()
    assert ("unusable", "open") in odd.engine.dead_letters(payment.id)
    assert odd.shop.payment(payment.id).status == "pending"


def test_a_listed_payment_that_cannot_be_understood_keeps_no_other_from_being_compared(odd: OddProvider) -> None:
    paid = {"status": "paid", "received_amount": "25.00", "currency": "USD", "refunded_amount": "0.00"}
    payments = []
    for name in ("ref_a", "ref_b", "ref_c", "ref_d"):
        odd.answer(encode_json(201, **(GOOD | {"reference": name})))
        payments.append(odd.shop.deposit())
        odd.engine.call()
    rows = [GOOD | paid | {"reference": f"ref_{name}"} for name in "abcd"]
    for row, payment in zip(rows, payments, strict=True):
        row["merchant_reference"] = str(payment.id)
    rows[0]["status"] = "under_review"
    rows[1]["received_amount"] = 25
    rows[2]["reference"] = LONGEST + "r"
    odd.answer(encode_json(200, data=rows, next_cursor=None), encode_json(200, **(GOOD | {"status": "under_review"})))
    start = payments[0].created_at
    report = reconcile(odd.engine.runtime, odd.shop.provider_id, start, start.replace(year=2100), "operator:test")
    assert (report.settled, report.unanswered, report.differences) == (1, 3, [])
    statuses = [str(odd.shop.payment(payment.id).status) for payment in payments]
    assert statuses == ["processing"] * 3 + ["completed"]


def test_a_list_whose_cursors_lead_in_a_circle_has_an_end(odd: OddProvider) -> None:
    pages = [encode_json(200, data=[], next_cursor=cursor) for cursor in ("a", "b", "a")]
    odd.answer(*pages, encode_json(200, data=[], next_cursor=None))
    start = odd.engine.databases.value("select now()")
    with pytest.raises(ProviderCallFailed, match="cursor"):
        reconcile(odd.engine.runtime, odd.shop.provider_id, start, start.replace(year=2100), "operator:test")


def test_polls_of_a_provider_that_asks_for_patience_end(odd: OddProvider) -> None:
    payment = odd.start()
    odd.answer(encode_answer(b"", 429, Retry_After="7"))
    odd.engine.expire(payment.id)
    for _ in range(ATTEMPTS):
        odd.call_again(payment)
    after = odd.shop.payment(payment.id)
    assert (after.status, after.failure_reason) == ("cancelled", "expired")


@pytest.mark.parametrize("column", ["provider_reference", "redirect_url"])
def test_the_database_takes_nothing_else(odd: OddProvider, column: str) -> None:
    payment = odd.shop.deposit()
    bad = {
        "provider_reference": [LONGEST + "r"],
        "redirect_url": ["javascript:x", "/x", "https://" + "x" * REDIRECT_URL_LENGTH_MAX],
    }
    for value in bad[column]:
        with pytest.raises(Exception, match=f"ck_payment_transactions_{column}"):
            odd.engine.databases.rows(
                f"update payment_transactions set {column} = :value where id = :id",
                value=value,
                id=payment.id,
            )
