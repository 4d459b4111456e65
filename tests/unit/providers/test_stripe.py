"""Stripe's requests and refusals, as far as they are plain values."""

from __future__ import annotations

import datetime
import json
import urllib.parse
import uuid
from dataclasses import replace

import pytest

from app.core.errors import ProviderRefusedUs, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.core.money import AmountError, CurrencyError
from app.providers import Account, Order, RefundSubject
from app.providers.adapters.stripe import StripeAdapter
from app.providers.calls.outgoing import Outgoing, ProviderAnswer
from app.services.tenants.changes import ConfigurationError
from app.services.tenants.providers import choose_currencies
from models import new_id

ADAPTER = StripeAdapter(frozenset())
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
ORDER = Order(
    payment_id=PAYMENT,
    amount_minor=2550,
    currency="USD",
    callback_urls={},
    success_url="https://shop.example/ok?payment_id=1&x=ä",
    failure_url="https://shop.example/no",
    created_at=NOW,
    expires_at=NOW + datetime.timedelta(minutes=30),
    metadata={"order": "7 & 8=ü", "with[brackets]": "x"},
)


def fields_of(order: Order) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(ADAPTER.build_request(order).decode("ascii"), strict_parsing=True))


def test_a_request_names_the_payment_where_events_are_read() -> None:
    assert fields_of(ORDER) == {
        "mode": "payment",
        "client_reference_id": str(PAYMENT),
        "payment_intent_data[metadata][payment_id]": str(PAYMENT),
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "2550",
        "line_items[0][price_data][product_data][name]": "Deposit",
        "success_url": ORDER.success_url,
        "cancel_url": ORDER.failure_url,
        "metadata[order]": "7 & 8=ü",
        "expires_at": str(int(NOW.timestamp()) + 61 * 60),
    }


def test_the_same_order_gives_the_same_bytes() -> None:
    turned = replace(ORDER, metadata=dict(reversed(ORDER.metadata.items())))
    assert ADAPTER.build_request(turned) == ADAPTER.build_request(ORDER)


def test_the_payer_reads_what_the_deposit_says() -> None:
    told = fields_of(replace(ORDER, customer={"email": "ann@example.com", "name": "Ann"}, description="Order 42"))
    assert told["line_items[0][price_data][product_data][name]"] == "Order 42"
    assert told["customer_email"] == "ann@example.com"
    assert "customer_email" not in fields_of(ORDER)


@pytest.mark.parametrize(
    ("minutes", "ends_after"), [(1, 32), (30, 61), (23 * 60, 23 * 60 + 31), (24 * 60, 24 * 60 - 1)]
)
def test_a_session_can_be_created_until_the_payment_expires(minutes: int, ends_after: int) -> None:
    order = replace(ORDER, expires_at=NOW + datetime.timedelta(minutes=minutes))
    ends = datetime.datetime.fromtimestamp(int(fields_of(order)["expires_at"]), datetime.UTC)
    assert ends - NOW == datetime.timedelta(minutes=ends_after)


def test_a_request_that_stripe_cannot_take_is_not_made() -> None:
    for changes, error in (
        ({"success_url": None}, ValueError),
        ({"currency": "IRR"}, CurrencyError),
        ({"currency": "KWD", "amount_minor": 2551}, AmountError),
        ({"currency": "MGA", "amount_minor": 2551}, AmountError),
    ):
        with pytest.raises(error):
            ADAPTER.build_request(replace(ORDER, **changes))  # type: ignore[arg-type]


def test_a_key_says_its_mode() -> None:
    account = Account(uuid.uuid4(), "https://api.stripe.com", {})
    keys = {
        "sk_test_a": "test",
        "rk_test_a": "test",
        "sk_live_a": "live",
        "rk_live_a": "live",
        "pk_test_a": None,
        "": None,
    }
    assert {key: ADAPTER.read_mode(replace(account, credentials={"api_key": key})) for key in keys} == keys


def test_a_provider_takes_the_currencies_of_its_adapter() -> None:
    known = choose_currencies(ADAPTER, ())
    assert known is not None
    assert {"USD", "MGA", "KWD"} <= set(known)
    assert choose_currencies(ADAPTER, ("EUR", "USD")) == ["EUR", "USD"]
    with pytest.raises(ConfigurationError, match="IRR"):
        choose_currencies(ADAPTER, ("EUR", "IRR"))


def refuse(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, *, is_whole: bool = True) -> Fact:
    answer = ProviderAnswer(status, body, None, is_whole)
    monkeypatch.setattr(Outgoing, "send", lambda *args, **kwargs: answer)
    return ADAPTER.create(Account(uuid.uuid4(), "https://api.stripe.com", {"api_key": "sk_test_a"}), PAYMENT, b"")


def test_a_refusal_of_our_own_fields_is_no_decline(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {
        "type": "invalid_request_error",
        "code": "url_invalid",
        "message": "Not a valid URL",
        "param": "success_url",
    }
    with pytest.raises(ProviderRefusedUs, match=r"Not a valid URL \(success_url\)"):
        refuse(monkeypatch, 400, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(("status", "code"), [(400, "amount_too_small"), (400, "amount_too_large"), (402, "anything")])
def test_a_refusal_of_the_payment_is_a_decline_with_a_neutral_text(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    error = {"code": code, "message": "The total must be at least $0.50 usd."}
    fact = refuse(monkeypatch, status, json.dumps({"error": error}).encode())
    assert (fact.kind, fact.message) == (FactKind.DECLINED, "The provider did not accept this payment.")
    assert "0.50" in str(fact.technical)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error": null}', b'{"error": "x"}'])
def test_a_refusal_that_cannot_be_read_is_no_decline(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        refuse(monkeypatch, 400, body, is_whole=False)


REFUND = RefundSubject(uuid.UUID("01a2200b-2222-703a-9cfa-e203ef16ec93"), PAYMENT, "cs_test_1", 1050, "USD")


def answer_refund(monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, object]) -> tuple[Fact, list[bytes]]:
    """Return the fact of a refund call that is answered so, and the bodies that were sent."""
    session = {"id": "cs_test_1", "client_reference_id": str(PAYMENT), "payment_intent": "pi_1"}
    sent: list[bytes] = []

    def send(self: Outgoing, method: str, *args: object, **kwargs: object) -> ProviderAnswer:
        if method == "GET":
            return ProviderAnswer(200, json.dumps(session).encode(), None)
        sent.extend(one for one in (*args, *kwargs.values()) if isinstance(one, bytes))
        return ProviderAnswer(status, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    account = Account(uuid.uuid4(), "https://api.stripe.com", {"api_key": "sk_test_a"})
    return ADAPTER.refund(account, REFUND, ADAPTER.build_refund(REFUND)), sent


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("succeeded", "completed"),
        ("pending", "processing"),
        ("requires_action", "processing"),
        ("failed", "failed"),
        ("canceled", "failed"),
    ],
)
def test_a_refund_names_the_payment_intent_and_our_ids(
    monkeypatch: pytest.MonkeyPatch, status: str, state: str
) -> None:
    shown = {"id": "re_1", "status": status, "metadata": {"refund_id": str(REFUND.refund_id)}, "failure_reason": None}
    fact, sent = answer_refund(monkeypatch, 200, shown)
    assert (fact.kind, fact.refund_state, fact.reversal_id) == (FactKind.REFUND_STATE, state, "re_1")
    assert [dict(urllib.parse.parse_qsl(one.decode("ascii"), strict_parsing=True)) for one in sent] == [
        {
            "amount": "1050",
            "payment_intent": "pi_1",
            "metadata[payment_id]": str(PAYMENT),
            "metadata[refund_id]": str(REFUND.refund_id),
        }
    ]


@pytest.mark.parametrize(
    "shown",
    [
        {"id": "re_1", "status": "succeeded", "metadata": {"refund_id": str(PAYMENT)}},
        {"id": "re_1", "status": "succeeded"},
        {"id": "re_1", "status": "melted", "metadata": {"refund_id": str(REFUND.refund_id)}},
        {"status": "succeeded", "metadata": {"refund_id": str(REFUND.refund_id)}},
    ],
)
def test_an_answer_about_another_refund_or_an_unknown_state_is_unusable(
    monkeypatch: pytest.MonkeyPatch, shown: dict[str, object]
) -> None:
    with pytest.raises(UnexpectedAnswer):
        answer_refund(monkeypatch, 200, shown)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "charge_already_refunded", "message": "Charge ch_1 has already been refunded."},
        {"code": "charge_disputed", "message": "The charge is disputed."},
        {"param": "amount", "message": "Refund amount ($26.00) is greater than unrefunded amount ($25.00)"},
    ],
)
def test_a_refused_refund_has_failed(monkeypatch: pytest.MonkeyPatch, error: dict[str, str]) -> None:
    fact, _ = answer_refund(monkeypatch, 400, {"error": error})
    assert (fact.kind, fact.refund_state, fact.message) == (FactKind.REFUND_STATE, "failed", error["message"])


def test_any_other_refusal_of_a_refund_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"code": "balance_insufficient", "message": "Insufficient funds in your Stripe balance"}
    with pytest.raises(ProviderRefusedUs, match="Insufficient funds"):
        answer_refund(monkeypatch, 400, {"error": error})


def test_our_ids_say_when_they_were_made() -> None:
    assert new_id().version == 7
