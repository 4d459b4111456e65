"""Paystack's requests, refusals and events, as far as they are plain values."""

from __future__ import annotations

import datetime
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import OutcomeUnknown, ProviderRefusedUs, UnexpectedAnswer, Unusable
from app.core.facts import DisputeReport, Fact, FactKind, Movement, MovementKind
from app.core.money import CurrencyError
from app.providers import Account, Asks, Ignored, Order, Subject, Told
from app.providers.adapters.paystack import PaystackAdapter
from app.providers.adapters.paystack.paystack_adapter import read_cursor
from app.providers.adapters.paystack.paystack_events import name_payment, translate
from app.providers.calls.outgoing import Outgoing, ProviderAnswer

ADAPTER = PaystackAdapter(frozenset())
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
ACCOUNT = Account(uuid.uuid4(), "https://api.paystack.co", {"api_key": "sk_test_a"})
ORDER = Order(
    payment_id=PAYMENT,
    amount_minor=2550,
    currency="NGN",
    callback_urls={},
    success_url="https://shop.example/ok",
    failure_url="https://shop.example/no",
    created_at=NOW,
    expires_at=NOW + datetime.timedelta(minutes=30),
    metadata={"reference": "7ü"},
    customer={"email": "ann@example.com", "name": "Ann"},
)
TRANSACTION = {
    "id": 4099260516,
    "domain": "test",
    "status": "success",
    "reference": str(PAYMENT),
    "amount": 2550,
    "currency": "NGN",
}
PAID = Fact(FactKind.SUCCEEDED, str(PAYMENT), amount_minor=2550, currency="NGN", aliases=("4099260516",))
DISPUTE = {"id": 358950, "status": "resolved", "transaction": {"reference": str(PAYMENT)}}
REFUND = {"status": "processed", "transaction_reference": str(PAYMENT), "amount": "10000", "currency": "NGN"}


def event(name: str, data: object) -> dict[str, Any]:
    return {"event": name, "data": data}


def test_a_request_names_the_payment_and_its_payer() -> None:
    assert json.loads(ADAPTER.build_request(ORDER)) == {
        "reference": str(PAYMENT),
        "email": "ann@example.com",
        "amount": 2550,
        "currency": "NGN",
        "callback_url": ORDER.success_url,
        "metadata": {"reference": "7ü", "cancel_action": ORDER.failure_url},
    }
    without_urls = json.loads(ADAPTER.build_request(replace(ORDER, success_url=None, failure_url=None)))
    assert without_urls.keys() == {"reference", "email", "amount", "currency", "metadata"}
    assert ADAPTER.build_request(replace(ORDER)) == ADAPTER.build_request(ORDER)


def test_a_request_that_paystack_cannot_take_is_not_made() -> None:
    with pytest.raises(CurrencyError):
        ADAPTER.build_request(replace(ORDER, currency="EUR"))
    with pytest.raises(ValueError, match="e-mail"):
        ADAPTER.build_request(replace(ORDER, customer={"name": "Ann"}))


def test_a_key_says_its_mode() -> None:
    keys = {"sk_test_a": "test", "sk_live_a": "live", "pk_test_a": None, "": None}
    assert {key: ADAPTER.read_mode(replace(ACCOUNT, credentials={"api_key": key})) for key in keys} == keys


def answer_with(monkeypatch: pytest.MonkeyPatch, status: int, body: object) -> None:
    answer = ProviderAnswer(status, json.dumps(body).encode(), None)
    monkeypatch.setattr(Outgoing, "send", lambda *args, **kwargs: answer)


def answer_by_path(monkeypatch: pytest.MonkeyPatch, bodies: dict[str, object]) -> list[str]:
    """Let each path be answered with its data, others with 404; return the list of what is asked."""
    asked: list[str] = []

    def send(outgoing: object, method: str, url: str, headers: object, body: object = None) -> ProviderAnswer:
        path = url.removeprefix(ACCOUNT.api_base_url)
        asked.append(path)
        found = bodies.get(path.partition("?")[0], bodies.get(path))
        if method == "POST":
            return ProviderAnswer(400, b'{"message": "Duplicate", "code": "duplicate_reference"}', None)
        return ProviderAnswer(404 if found is None else 200, json.dumps({"data": found, "meta": {}}).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    return asked


def verify_path(reference: object) -> str:
    return f"/transaction/verify/{reference}"


def test_an_attempt_at_an_earlier_try_keeps_the_payment_open(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_by_path(monkeypatch, {verify_path(PAYMENT): TRANSACTION | {"status": "failed"}})
    fact = ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))
    assert (fact.kind, fact.reference) == (FactKind.PENDING, str(PAYMENT))


def test_a_used_reference_that_is_not_known_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_by_path(monkeypatch, {})
    with pytest.raises(OutcomeUnknown):
        ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))


LISTED_REFUND = REFUND | {"id": 1, "amount": 700, "dispute": None}
LISTED_DISPUTE = DISPUTE | {"resolution": "merchant-accepted", "refund_amount": 300, "currency": "NGN"}


LOST = Movement("reversed", "dispute:358950", 300, "NGN")


def refunded(number: int, kind: MovementKind = "reversed") -> Movement:
    return Movement(kind, f"refund:{number}", 700, "NGN")


@pytest.mark.parametrize(
    ("refunds", "movements"),
    [
        ([], [LOST]),
        ([LISTED_REFUND], [refunded(1), LOST]),
        (
            [LISTED_REFUND, LISTED_REFUND | {"id": 2}, LISTED_REFUND | {"id": 3, "status": "pending"}],
            [refunded(1), refunded(2), LOST],
        ),
        ([LISTED_REFUND | {"status": "failed"}], [refunded(1), refunded(1, "reinstated"), LOST]),
        ([LISTED_REFUND | {"transaction_reference": f"{PAYMENT}.2"}], [LOST]),
        ([LISTED_REFUND | {"amount": 300, "dispute": DISPUTE["id"]}], [LOST]),
        ([LISTED_REFUND | {"amount": 300, "dispute": {"id": DISPUTE["id"]}}], [LOST]),
    ],
)
def test_refunds_and_lost_disputes_of_a_transaction_count_once(
    monkeypatch: pytest.MonkeyPatch, refunds: list[object], movements: list[Movement]
) -> None:
    disputes = [LISTED_DISPUTE, LISTED_DISPUTE | {"id": 9, "resolution": "declined"}]
    answer_by_path(monkeypatch, {verify_path(PAYMENT): TRANSACTION, "/refund": refunds, "/dispute": disputes})
    states = (DisputeReport("358950", "lost"), DisputeReport("9", "won"))
    assert ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, None)) == replace(PAID, movements=tuple(movements), disputes=states)


def test_the_reference_that_was_paid_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    later = TRANSACTION | {"status": "abandoned", "reference": f"{PAYMENT}.2"}
    bodies: dict[str, object] = {verify_path(PAYMENT): TRANSACTION, verify_path(f"{PAYMENT}.2"): later}
    answer_by_path(monkeypatch, bodies | {"/refund": [], "/dispute": []})
    assert ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, None)) == PAID


@pytest.mark.parametrize(
    ("meta", "following"),
    [
        ({"next": "a b", "page": 1, "pageCount": 1}, "next=a+b"),
        ({"next": None, "page": 1, "pageCount": 2}, "page=2"),
        ({"page": 2, "pageCount": 2}, None),
        ({"page": "1", "pageCount": 2}, None),
        ({}, None),
    ],
)
def test_a_lists_next_page_is_named_by_cursor_or_number(meta: dict[str, object], following: str | None) -> None:
    assert read_cursor(meta) == following


def test_a_refusal_of_our_request_is_no_decline(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(
        monkeypatch, 400, {"status": False, "message": "Currency not supported", "code": "unsupported_currency"}
    )
    with pytest.raises(ProviderRefusedUs, match=r"Currency not supported \(unsupported_currency\)"):
        ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))


@pytest.mark.parametrize("body", [None, [], {}, {"code": "x"}])
def test_a_refusal_that_cannot_be_read_is_no_decline(monkeypatch: pytest.MonkeyPatch, body: object) -> None:
    answer_with(monkeypatch, 400, body)
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"authorization_url": "https://checkout.paystack.com/x", "reference": "another"},
        {"authorization_url": "https://checkout.paystack.com/x"},
        {"authorization_url": "//checkout", "reference": str(PAYMENT)},
    ],
)
def test_an_answer_without_the_payments_page_is_unexpected(monkeypatch: pytest.MonkeyPatch, data: object) -> None:
    answer_with(monkeypatch, 200, {"status": True, "message": "x", "data": data})
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))


@pytest.mark.parametrize(("status", "code"), [(404, "anything"), (400, "transaction_not_found")])
def test_an_unknown_reference_is_answered_in_two_ways(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    answer_with(monkeypatch, status, {"status": False, "message": "Transaction reference not found", "code": code})
    assert ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, None)).kind is FactKind.NOT_FOUND


@pytest.mark.parametrize(("domain", "is_live"), [("test", False), ("live", True)])
@pytest.mark.parametrize("reference", [str(PAYMENT), f"{PAYMENT}.2", f"{PAYMENT}.3"])
def test_a_paid_transaction_is_a_fact(domain: str, is_live: bool, reference: str) -> None:
    body = event("charge.success", TRANSACTION | {"domain": domain, "reference": reference})
    assert translate(body) == [Told(PAYMENT, replace(PAID, reference=reference), is_live=is_live)]
    assert name_payment(body) == PAYMENT


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("refund.processed", REFUND),
        ("refund.failed", REFUND | {"status": "failed"}),
    ],
)
def test_money_that_goes_back_is_read_from_the_lists(name: str, data: dict[str, Any]) -> None:
    assert translate(event(name, data)) == [Asks(PAYMENT)]


@pytest.mark.parametrize(
    ("how", "resolution", "state"),
    [
        *(("create", None, "opened"), ("remind", None, "opened"), ("resolve", "declined", "won")),
        ("resolve", "merchant-accepted", "lost"),
    ],
)
def test_a_dispute_is_a_mark_and_takes_money_once_it_is_lost(how: str, resolution: str | None, state: Any) -> None:
    more = {"resolution": resolution, "domain": "test", "category": "chargeback", "dueAt": "2026-11-28T12:00:00.000Z"}
    about: dict[str, Any] = {"dispute_id": "358950", "reason": "chargeback", "evidence_due_at": NOW}
    told = Told(PAYMENT, Fact(FactKind.DISPUTE, dispute_state=state, **about), is_live=False)
    said = translate(event(f"charge.dispute.{how}", DISPUTE | more))
    assert said == ([told, Asks(PAYMENT)] if state == "lost" else [told])
    for unreadable in ("soon", "2026-11-28T12:00:00", None):
        (told_again, *_) = translate(event(f"charge.dispute.{how}", DISPUTE | more | {"dueAt": unreadable}))
        assert isinstance(told_again, Told)
        assert told_again.fact.evidence_due_at is None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("transfer.success", TRANSACTION),
        ("refund.pending", REFUND),
        ("refund.needs-attention", REFUND),
        ("charge.success", TRANSACTION | {"reference": "order-7"}),
        ("charge.success", TRANSACTION | {"reference": f"{PAYMENT}.4"}),
        ("charge.success", TRANSACTION | {"reference": None}),
        ("refund.processed", REFUND | {"transaction_reference": "T2154954"}),
        ("charge.dispute.resolve", DISPUTE | {"transaction": {}}),
    ],
)
def test_what_is_not_ours_or_of_no_interest_is_ignored(name: str, data: dict[str, Any]) -> None:
    (said,) = translate(event(name, data))
    assert isinstance(said, Ignored)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event": 7, "data": {}},
        event("charge.success", None),
        event("charge.success", TRANSACTION | {"domain": None}),
        event("charge.success", TRANSACTION | {"amount": "2550"}),
        event("charge.success", TRANSACTION | {"currency": "EUR"}),
        event("charge.success", TRANSACTION | {"status": "failed"}),
        event("charge.success", TRANSACTION | {"status": "unknown"}),
        event("charge.dispute.create", DISPUTE | {"domain": "test", "id": None}),
    ],
)
def test_what_cannot_be_booked_is_for_a_person(body: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        translate(body)


@pytest.mark.parametrize("body", [None, [], {}, {"data": 1}, {"data": {}}, {"data": {"transaction": 1}}])
def test_a_body_that_names_nothing_names_nothing(body: object) -> None:
    assert name_payment(body) is None
