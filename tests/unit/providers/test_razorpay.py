"""Razorpay's requests, refusals and events, as far as they are plain values."""

from __future__ import annotations

import base64
import datetime
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import OutcomeUnknown, ProviderRefusedUs, UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind, Movement
from app.core.money import AmountError, CurrencyError
from app.providers import Account, Asks, Ignored, Order, Subject, Told
from app.providers.adapters.razorpay import RazorpayAdapter
from app.providers.adapters.razorpay.razorpay_events import name_payment, read_link, translate
from app.providers.calls.outgoing import Outgoing, ProviderAnswer

ADAPTER = RazorpayAdapter(frozenset())
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
ACCOUNT = Account(uuid.uuid4(), "https://api.razorpay.com", {"key_id": "rzp_test_a", "key_secret": "secret"})
ORDER = Order(
    payment_id=PAYMENT,
    amount_minor=2550,
    currency="INR",
    callback_urls={},
    success_url="https://shop.example/ok",
    failure_url="https://shop.example/no",
    created_at=NOW,
    expires_at=NOW + datetime.timedelta(minutes=30),
    metadata={"order": "7ü", "payment_id": "another"},
    customer={"phone": "+919900000000", "country": "IN"},
    description="Tickets",
)
LINK = {
    "id": "plink_1",
    "reference_id": str(PAYMENT),
    "order_id": "order_1",
    "status": "paid",
    "amount": 2550,
    "amount_paid": 2550,
    "currency": "INR",
}
PAYMENT_ENTITY = {"id": "pay_1", "order_id": "order_1", "notes": {"payment_id": str(PAYMENT)}}
FAILED = PAYMENT_ENTITY | {"error_description": "No cover on 4242424242424242."}
REFUND = {"id": "rfnd_1", "amount": 700, "currency": "INR", "payment_id": "pay_1"}
REFUNDS = [("refund.processed", [FactKind.REVERSED]), ("refund.failed", [FactKind.REINSTATED, FactKind.REVERSED])]
DISPUTE = {"id": "disp_1", "reason_code": "fraudulent", "respond_by": int(NOW.timestamp())}
OPENED = dict.fromkeys(("created", "under_review", "action_required"), "opened")
PAID = Fact(FactKind.SUCCEEDED, "plink_1", amount_minor=2550, currency="INR", aliases=("order_1", "pay_1"))


def event(name: str, **entities: Any) -> dict[str, Any]:
    return {"event": name, "payload": {key: {"entity": entity} for key, entity in entities.items()}}


def test_a_request_names_the_payment_and_who_pays() -> None:
    assert json.loads(ADAPTER.build_request(ORDER)) == {
        "reference_id": str(PAYMENT),
        "amount": 2550,
        "currency": "INR",
        "accept_partial": False,
        "expire_by": int(NOW.timestamp()) + 46 * 60,
        "description": "Tickets",
        "notes": {"order": "7ü", "payment_id": str(PAYMENT)},
        "notify": {"sms": False, "email": False},
        "reminder_enable": False,
        "customer": {"contact": "+919900000000"},
        "callback_url": ORDER.success_url,
        "callback_method": "get",
    }
    plain = json.loads(ADAPTER.build_request(replace(ORDER, success_url=None, customer={}, description=None)))
    assert (plain["description"], plain["customer"]) == ("Deposit", {})
    assert not {"callback_url", "callback_method"} & plain.keys()
    assert ADAPTER.build_request(replace(ORDER)) == ADAPTER.build_request(ORDER)


@pytest.mark.parametrize(("days", "ends_after"), [(1, 86_400 + 960), (200, 180 * 86_400 - 60)])
def test_a_link_can_be_created_until_the_payment_expires(days: int, ends_after: int) -> None:
    order = replace(ORDER, expires_at=NOW + datetime.timedelta(days=days))
    assert json.loads(ADAPTER.build_request(order))["expire_by"] - NOW.timestamp() == ends_after


def test_a_request_that_razorpay_cannot_take_is_not_made() -> None:
    for changes, error in (
        ({"currency": "IRR"}, CurrencyError),
        ({"currency": "KWD", "amount_minor": 2551}, AmountError),
    ):
        with pytest.raises(error):
            ADAPTER.build_request(replace(ORDER, **changes))  # type: ignore[arg-type]


def test_the_key_is_sent_as_basic_authentication_and_says_its_mode() -> None:
    assert ADAPTER.authorize(ACCOUNT) == {"Authorization": f"Basic {base64.b64encode(b'rzp_test_a:secret').decode()}"}
    keys = {"rzp_test_a": "test", "rzp_live_a": "live", "a": None}
    assert {key: ADAPTER.read_mode(replace(ACCOUNT, credentials={"key_id": key})) for key in keys} == keys


def answer_with(monkeypatch: pytest.MonkeyPatch, status: int, body: object) -> None:
    """Refuse every post so; lists are empty."""

    def send(outgoing: object, method: str, *_: object) -> ProviderAnswer:
        if method == "GET":
            return ProviderAnswer(200, b'{"payment_links": []}', None)
        return ProviderAnswer(status, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)


def refuse(monkeypatch: pytest.MonkeyPatch, **error: str) -> Fact:
    answer_with(monkeypatch, 400, {"error": {"code": "BAD_REQUEST_ERROR", **error}})
    return ADAPTER.create(ACCOUNT, PAYMENT, b"{}")


def test_a_refusal_of_our_own_fields_is_no_decline(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProviderRefusedUs, match=r"callback url is invalid \(callback_url\)"):
        refuse(monkeypatch, description="The callback url is invalid", field="callback_url")


def test_a_refusal_of_the_amount_is_a_decline_with_a_neutral_text(monkeypatch: pytest.MonkeyPatch) -> None:
    fact = refuse(monkeypatch, description="Amount exceeds maximum amount allowed.", field="amount")
    assert (fact.kind, fact.message) == (FactKind.DECLINED, "The provider did not accept this payment.")
    assert "maximum" in str(fact.technical)


@pytest.mark.parametrize("body", [None, [], {}, {"error": None}, {"error": "x"}])
def test_a_refusal_that_cannot_be_read_is_no_decline(monkeypatch: pytest.MonkeyPatch, body: object) -> None:
    answer_with(monkeypatch, 400, body)
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(ACCOUNT, PAYMENT, b"{}")


def test_a_list_that_repeats_a_page_is_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [LINK | {"id": f"plink_{number}", "created_at": int(NOW.timestamp())} for number in range(100)]

    def send(outgoing: object, method: str, url: str, *_: object) -> ProviderAnswer:
        body = {"items": []} if "disputes" in url or "refunds" in url else {"payment_links": rows}
        return ProviderAnswer(200, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    hour = datetime.timedelta(hours=1)
    with pytest.raises(OutcomeUnknown, match="repeats"):
        list(ADAPTER.list_payments(ACCOUNT, NOW - hour, NOW + hour))
    # Filters that are not obeyed change nothing.
    rows = rows[:3]
    assert len(list(ADAPTER.list_payments(ACCOUNT, NOW - hour, NOW + hour))) == 3
    assert list(ADAPTER.list_payments(ACCOUNT, NOW + hour, NOW + 2 * hour)) == []


def test_an_answer_about_another_payment_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    other = LINK | {"reference_id": str(uuid.uuid4())}

    def send(outgoing: object, method: str, url: str, *_: object) -> ProviderAnswer:
        shown = {"payment_links": [other, LINK], "items": []} if method == "GET" else other
        return ProviderAnswer(200, json.dumps(shown).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    with pytest.raises(UnexpectedAnswer, match="another payment"):
        ADAPTER.create(ACCOUNT, PAYMENT, b"{}")
    assert ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, None)).reference == LINK["id"]


def test_only_refunds_that_were_done_count(monkeypatch: pytest.MonkeyPatch) -> None:
    refunds = [
        {"id": f"rfnd_{status}", "status": status, "amount": 100, "currency": "INR"}
        for status in ("pending", "processed", "failed")
    ]
    shown = LINK | {"payments": [{"payment_id": "pay_1"}], "created_at": 1}

    def send(outgoing: object, method: str, url: str, *_: object) -> ProviderAnswer:
        body = {"items": refunds} if "refunds" in url else {"items": []} if "disputes" in url else shown
        return ProviderAnswer(200, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    steps = [("reversed", "rfnd_processed"), ("reversed", "rfnd_failed"), ("reinstated", "rfnd_failed")]
    moved = tuple(Movement(kind, name, 100, "INR") for kind, name in steps)  # type: ignore[arg-type]
    assert ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, "plink_1")) == replace(PAID, movements=moved)


def test_money_that_a_closed_link_has_received_counts() -> None:
    fact = read_link(LINK | {"status": "expired", "amount_paid": 100, "payments": [{"payment_id": "pay_1"}]})
    assert fact == replace(PAID, amount_minor=100)


@pytest.mark.parametrize(
    ("name", "entities", "fact"),
    [
        ("payment_link.paid", {"payment_link": LINK, "payment": PAYMENT_ENTITY}, PAID),
        (
            "payment_link.partially_paid",
            {"payment_link": LINK | {"status": "partially_paid", "amount_paid": 100}, "payment": PAYMENT_ENTITY},
            replace(PAID, amount_minor=100),
        ),
        (
            "payment_link.cancelled",
            {"payment_link": LINK | {"status": "cancelled", "amount_paid": 0}},
            Fact(FactKind.CANCELLED, "plink_1", aliases=("order_1",)),
        ),
        (
            "payment_link.expired",
            {"payment_link": LINK | {"status": "expired", "amount_paid": 0}},
            Fact(FactKind.CANCELLED, "plink_1", is_expiry=True, aliases=("order_1",)),
        ),
        (
            "payment.failed",
            {"payment": FAILED},
            Fact(FactKind.ATTEMPT_DECLINED, message="No cover on [card ...4242].", aliases=("order_1",)),
        ),
    ],
)
def test_each_event_is_a_fact(name: str, entities: dict[str, Any], fact: Fact) -> None:
    body = event(name, **entities)
    assert translate(body) == [Told(PAYMENT, fact)]
    assert name_payment(body) == PAYMENT


def moved(kind: FactKind, reversal_id: str) -> Fact:
    return Fact(kind, amount_minor=700, currency="INR", reversal_id=reversal_id)


@pytest.mark.parametrize(("name", "kinds"), REFUNDS)
@pytest.mark.parametrize(("notes", "named"), [({"payment_id": str(PAYMENT)}, PAYMENT), ({}, "pay_1"), ([], "pay_1")])
def test_a_refund_is_booked_by_its_id(name: str, kinds: list[FactKind], notes: object, named: uuid.UUID | str) -> None:
    body = event(name, payment=PAYMENT_ENTITY | {"notes": notes}, refund=REFUND)
    is_foreign = named != PAYMENT
    assert translate(body) == [Told(named, moved(kind, "rfnd_1"), may_be_foreign=is_foreign) for kind in kinds]


@pytest.mark.parametrize("name", ["refund.processed", "refund.failed", "payment.dispute.lost"])
def test_money_that_goes_back_names_its_payment_without_it(name: str) -> None:
    body = event(name, **{"dispute" if "dispute" in name else "refund": REFUND})
    assert name_payment(body) == "pay_1"
    assert {(one.name, one.may_be_foreign) for one in translate(body) if isinstance(one, Told)} == {("pay_1", True)}


def test_unreadable_money_of_what_may_be_another_shops_is_asked_about() -> None:
    assert translate(event("refund.processed", refund=REFUND | {"currency": None})) == [Asks("pay_1")]


@pytest.mark.parametrize(("how", "state"), [*OPENED.items(), ("won", "won"), ("closed", "won"), ("lost", "lost")])
def test_a_dispute_is_a_mark_and_takes_money_once_it_is_lost(how: str, state: Any) -> None:
    dispute = DISPUTE | {"amount_deducted": 700 if state == "lost" else 0, "currency": "INR"}
    body = event(f"payment.dispute.{how}", payment=PAYMENT_ENTITY, dispute=dispute)
    about: dict[str, Any] = {"dispute_id": "disp_1", "reason": "fraudulent", "evidence_due_at": NOW}
    facts = [Fact(FactKind.DISPUTE, dispute_state=state, **about)]
    facts += [moved(FactKind.REVERSED, "disp_1")] if state == "lost" else []
    assert translate(body) == [Told(PAYMENT, fact) for fact in facts]
    foreign = event(f"payment.dispute.{how}", payment=PAYMENT_ENTITY | {"notes": []}, dispute=dispute)
    assert translate(foreign) == [Told("pay_1", fact, may_be_foreign=True) for fact in facts]


@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("payment.captured", {"payment": PAYMENT_ENTITY}),
        ("refund.created", {"payment": PAYMENT_ENTITY}),
        ("payment_link.paid", {"payment_link": LINK | {"reference_id": "TS1989"}, "payment": PAYMENT_ENTITY}),
        ("payment.failed", {"payment": FAILED | {"notes": []}}),
        ("refund.processed", {"payment": {"id": None}}),
        ("refund.processed", {}),
    ],
)
def test_what_is_not_ours_or_of_no_interest_is_ignored(name: str, entities: dict[str, Any]) -> None:
    (said,) = translate(event(name, **entities))
    assert isinstance(said, Ignored)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event": "payment_link.paid"},
        {"event": 7, "payload": {}},
        event("payment_link.paid", payment_link=LINK | {"status": "created", "amount_paid": 0}),
        event("payment_link.paid", payment_link=LINK | {"status": "unknown"}),
        event("payment_link.paid", payment_link=LINK | {"amount_paid": "2550"}),
        event("payment_link.paid", payment_link=LINK | {"currency": "XXX"}),
        event("payment_link.paid", payment_link=LINK | {"id": None}),
        event("payment_link.cancelled", payment_link=LINK | {"status": "cancelled"}),
        event("payment.dispute.created", payment=PAYMENT_ENTITY),
        event("refund.processed", payment=PAYMENT_ENTITY),
        event("refund.processed", payment=PAYMENT_ENTITY, refund=REFUND | {"amount": "700"}),
    ],
)
def test_what_cannot_be_booked_is_for_a_person(body: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        translate(body)


@pytest.mark.parametrize(
    "body", [None, [], {}, {"payload": 1}, {"payload": {"payment": 1}}, {"payload": {"payment_link": {"entity": {}}}}]
)
def test_a_body_that_names_nothing_names_nothing(body: object) -> None:
    assert name_payment(body) is None
