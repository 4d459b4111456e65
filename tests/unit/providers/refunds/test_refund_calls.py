"""Refunds at providers of which no test can ask: bodies, states, other refunds, and refusals, as plain values."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from app.core.errors import ProviderCallFailed, ProviderRefusedUs, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.core.money import AmountError, CurrencyError
from app.providers import Account, Adapter, RefundSubject
from app.providers.adapters.mollie import MollieAdapter
from app.providers.adapters.paypal import PayPalAdapter
from app.providers.adapters.paystack import PaystackAdapter
from app.providers.adapters.razorpay import RazorpayAdapter
from app.providers.calls.outgoing import Outgoing, ProviderAnswer

PAYMENT, REFUND = uuid.UUID(int=1), uuid.UUID(int=2)


@dataclass(frozen=True)
class Spoken:
    """How a provider speaks of refunds: a refund of 10.50 in `currency`, and its answer with a status."""

    adapter: Adapter
    credentials: dict[str, str]
    currency: str
    path: str
    body: dict[str, Any]
    states: dict[str, str]
    refusal: tuple[int, dict[str, Any]]

    def answer(self, status: str, own: str = str(REFUND)) -> dict[str, Any]:
        """Return a refund with this status and this id of ours."""
        shown = {"id": 7, "status": status, "metadata": {"refund_id": own}, "receipt": own, "merchant_note": own}
        shown["invoice_id"] = own
        if self.currency == "NGN":
            return {"data": shown}
        return shown | {"id": "re_7"}


PAID = {"id": "cap_1", "status": "COMPLETED"}
OWN = {"payment_id": str(PAYMENT), "refund_id": str(REFUND)}
MOLLIE = Spoken(
    MollieAdapter(frozenset()),
    {"api_key": "test_a"},
    "EUR",
    "/v2/payments/paid_1/refunds",
    {"amount": {"currency": "EUR", "value": "10.50"}, "description": f"Refund {REFUND}", "metadata": OWN},
    {
        "queued": "processing",
        "pending": "processing",
        "processing": "processing",
        "refunded": "completed",
        "failed": "failed",
        "canceled": "failed",
    },
    (422, {"status": 422, "detail": "The amount is higher than the maximum", "field": "amount"}),
)
RAZORPAY = Spoken(
    RazorpayAdapter(frozenset()),
    {"key_id": "rzp_test_a", "key_secret": "b"},
    "INR",
    "/v1/payments/pay_1/refund",
    {"amount": 1050, "notes": OWN, "receipt": str(REFUND), "speed": "normal"},
    {"pending": "processing", "processed": "completed", "failed": "failed"},
    (400, {"error": {"code": "BAD_REQUEST_ERROR", "description": "The payment has been fully refunded already"}}),
)
PAYSTACK = Spoken(
    PaystackAdapter(frozenset()),
    {"api_key": "sk_test_a"},
    "NGN",
    "/refund",
    {"transaction": "paid_1", "amount": 1050, "currency": "NGN", "merchant_note": str(REFUND)},
    {
        "pending": "processing",
        "processing": "processing",
        "needs-attention": "processing",
        "processed": "completed",
        "failed": "failed",
    },
    (400, {"status": False, "message": "Transaction has been fully reversed", "code": "transaction_reversed"}),
)
PAYPAL = Spoken(
    PayPalAdapter(frozenset()),
    {"client_id": "client_id", "client_secret": "client_secret"},
    "USD",
    "/v2/payments/captures/cap_1/refund",
    {"amount": {"currency_code": "USD", "value": "10.50"}, "custom_id": str(PAYMENT), "invoice_id": str(REFUND)},
    {"PENDING": "processing", "COMPLETED": "completed", "FAILED": "failed", "CANCELLED": "failed"},
    (422, {"details": [{"issue": "CAPTURE_FULLY_REFUNDED", "description": "The capture has been fully refunded"}]}),
)
ALL = pytest.mark.parametrize(
    "spoken", [MOLLIE, RAZORPAY, PAYSTACK, PAYPAL], ids=["mollie", "razorpay", "paystack", "paypal"]
)


def subject(spoken: Spoken, minor: int = 1050, currency: str | None = None) -> RefundSubject:
    """Return the refund of a payment."""
    return RefundSubject(REFUND, PAYMENT, "paid_1", minor, currency or spoken.currency)


def refund(
    monkeypatch: pytest.MonkeyPatch, spoken: Spoken, status: int, body: object
) -> tuple[Fact, list[tuple[str, Any]]]:
    """Return the fact of a refund call that is answered so, and the paths and bodies that were posted."""
    link: dict[str, Any] = {"reference_id": str(PAYMENT), "payments": [{"payment_id": "pay_1"}]}
    link["purchase_units"] = [{"custom_id": str(PAYMENT), "payments": {"captures": [PAID]}}]
    sent: list[tuple[str, Any]] = []

    def send(self: Outgoing, method: str, url: str, *args: Any, **kwargs: Any) -> ProviderAnswer:
        if method == "GET":
            return ProviderAnswer(200, json.dumps(link).encode(), None)
        if url.endswith("/oauth2/token"):
            return ProviderAnswer(200, json.dumps({"access_token": "token", "expires_in": 3600}).encode(), None)
        given = next(one for one in (*args, *kwargs.values()) if isinstance(one, bytes))
        sent.append((url.removeprefix("https://provider.example"), json.loads(given)))
        return ProviderAnswer(status, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    account = Account(uuid.uuid4(), "https://provider.example", spoken.credentials)
    asked = subject(spoken)
    return spoken.adapter.refund(account, asked, spoken.adapter.build_refund(asked)), sent


@ALL
def test_the_call_has_our_ids_and_the_providers_units(monkeypatch: pytest.MonkeyPatch, spoken: Spoken) -> None:
    _, sent = refund(monkeypatch, spoken, 200, spoken.answer(next(iter(spoken.states))))
    assert sent == [(spoken.path, spoken.body)]
    assert spoken.adapter.build_refund(subject(spoken)) == spoken.adapter.build_refund(subject(spoken))
    with pytest.raises(CurrencyError):
        spoken.adapter.build_refund(subject(spoken, currency="QQQ"))
    with pytest.raises(AmountError):
        spoken.adapter.build_refund(subject(spoken, minor=0))


@ALL
def test_every_published_status_is_read(monkeypatch: pytest.MonkeyPatch, spoken: Spoken) -> None:
    for status, state in spoken.states.items():
        fact, _ = refund(monkeypatch, spoken, 200, spoken.answer(status))
        assert (fact.kind, fact.refund_state) == (FactKind.REFUND_STATE, state)
        assert fact.reversal_id in ("re_7", "refund:7")


@ALL
def test_another_refund_and_an_unknown_status_are_unusable(monkeypatch: pytest.MonkeyPatch, spoken: Spoken) -> None:
    known = next(iter(spoken.states))
    for body in (spoken.answer("melted"), spoken.answer(known, own=str(PAYMENT))):
        with pytest.raises(UnexpectedAnswer):
            refund(monkeypatch, spoken, 200, body)


@ALL
def test_a_refusal_has_the_providers_words(monkeypatch: pytest.MonkeyPatch, spoken: Spoken) -> None:
    status, body = spoken.refusal
    fact, _ = refund(monkeypatch, spoken, status, body)
    assert (fact.kind, fact.refund_state) == (FactKind.REFUND_STATE, "failed")
    assert fact.message
    assert fact.message in json.dumps(body)


@ALL
def test_what_is_no_answer_about_the_refund_fails_nothing(monkeypatch: pytest.MonkeyPatch, spoken: Spoken) -> None:
    for status in (404, 409, 429, 500, 503):
        with pytest.raises(ProviderCallFailed):
            refund(monkeypatch, spoken, status, {})
    with pytest.raises(ProviderRefusedUs):
        refund(monkeypatch, spoken, 401, {})
    with pytest.raises(UnexpectedAnswer):
        refund(monkeypatch, spoken, spoken.refusal[0], [])


def test_a_link_with_several_payments_is_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"reference_id": str(PAYMENT), "payments": [{"payment_id": "pay_1"}, {"payment_id": "pay_2"}]}
    monkeypatch.setattr(Outgoing, "send", lambda *_, **__: ProviderAnswer(200, json.dumps(link).encode(), None))
    account = Account(uuid.uuid4(), "https://provider.example", RAZORPAY.credentials)
    with pytest.raises(UnexpectedAnswer, match="2 payments"):
        RAZORPAY.adapter.refund(account, subject(RAZORPAY), b"{}")
