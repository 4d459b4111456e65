"""Adyen's requests, refusals, signatures and notifications, as far as they are plain values."""

from __future__ import annotations

import base64
import copy
import datetime
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from Adyen.util import generate_notification_sig

from app.core.errors import ProviderRefusedUs, UnexpectedAnswer, Unusable, WebhookRejected
from app.core.facts import Fact, FactKind
from app.core.money import CurrencyError
from app.core.signatures import Scheme
from app.providers import Account, Asks, Ignored, Order, Received, Subject, Told
from app.providers.adapters.adyen import AdyenAdapter
from app.providers.adapters.adyen.adyen_events import name_payment, translate
from app.providers.calls.outgoing import Outgoing, ProviderAnswer

ADAPTER = AdyenAdapter(frozenset())
KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
PSP, REFUND = "8835511210681324", "8825408195409505"
CREDENTIALS = {"api_key": "AQEyhmfx", "merchant_account": "ShopECOM"}
ACCOUNT = Account(uuid.uuid4(), "https://checkout-test.adyen.com", CREDENTIALS)
ORDER = Order(
    payment_id=PAYMENT,
    amount_minor=2550,
    currency="EUR",
    callback_urls={},
    success_url="https://shop.example/ok",
    failure_url=None,
    created_at=NOW,
    expires_at=NOW + datetime.timedelta(minutes=30),
    metadata={"order": "7ü", "checkout.linkId": "x", "a key of more than twenty": "y", "long": "z" * 81},
    customer={"email": "ann@example.com", "name": "Ann", "country": "DE"},
    description="Top-up",
)


def item(code: str, *, success: bool = True, refers: bool = False, **changes: Any) -> dict[str, Any]:
    """Return an item; one that `refers` is about a refund or dispute of the payment."""
    return {
        "pspReference": REFUND if refers else PSP,
        "merchantAccountCode": "ShopECOM",
        "merchantReference": str(PAYMENT),
        "amount": {"value": 2550, "currency": "EUR"},
        "eventCode": code,
        "success": "true" if success else "false",
        "additionalData": {},
        **({"originalReference": PSP} if refers else {}),
        **changes,
    }


def notification(*items: dict[str, Any], live: str = "false") -> dict[str, Any]:
    return {"live": live, "notificationItems": [{"NotificationRequestItem": each} for each in items]}


def signed(*items: dict[str, Any], key: str = KEY) -> dict[str, Any]:
    """Return a notification whose items Adyen's own package has signed."""
    for each in items:
        made = generate_notification_sig(each, key)
        each["additionalData"]["hmacSignature"] = made.decode() if isinstance(made, bytes) else made
    return notification(*items)


def verify(body: Any, *secrets: str) -> str:
    keys = [ADAPTER.read_key(Scheme(), secret) for secret in secrets or (KEY,)]
    return ADAPTER.verify(Scheme(), keys, Received({}, json.dumps(body).encode(), body), 0.0)


def test_a_request_has_the_payment_and_what_fits_of_its_metadata() -> None:
    assert json.loads(ADAPTER.build_request(ORDER)) == {
        "amount": {"currency": "EUR", "value": 2550},
        "reference": str(PAYMENT),
        "expiresAt": "2026-11-28T12:32:00+00:00",
        "returnUrl": "https://shop.example/ok",
        "description": "Top-up",
        "metadata": {"order": "7ü"},
        "shopperEmail": "ann@example.com",
        "countryCode": "DE",
    }
    year = replace(ORDER, expires_at=NOW + datetime.timedelta(days=365))
    assert json.loads(ADAPTER.build_request(year))["expiresAt"] == "2027-02-06T11:58:00+00:00"


@pytest.mark.parametrize(
    ("currency", "minor", "units"), [("CVE", 2500, 25), ("IDR", 2500, 25), ("CLP", 25, 2500), ("ISK", 25, 2500)]
)
def test_amounts_have_adyens_digits(currency: str, minor: int, units: int) -> None:
    built = json.loads(ADAPTER.build_request(replace(ORDER, amount_minor=minor, currency=currency)))
    assert built["amount"]["value"] == units
    assert ADAPTER.capabilities.amounts.to_minor(units, currency) == minor


def test_a_currency_that_adyen_lacks_is_refused() -> None:
    with pytest.raises(CurrencyError):
        ADAPTER.build_request(replace(ORDER, currency="IRR"))


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("https://checkout-test.adyen.com", "test"),
        ("https://1797a841fbb37ca7-ShopECOM-checkout-live.adyenpayments.com/checkout", "live"),
        ("https://checkout-test.adyen.com.evil.example", None),
    ],
)
def test_the_host_says_the_mode(url: str, mode: str | None) -> None:
    assert ADAPTER.read_mode(replace(ACCOUNT, api_base_url=url)) == mode


def answer_with(monkeypatch: pytest.MonkeyPatch, status: int, body: object) -> list[bytes]:
    """Answer every call so; return the bodies that were sent."""
    sent: list[bytes] = []

    def send(self: Outgoing, method: str, url: str, headers: object, content: bytes | None = None) -> ProviderAnswer:
        sent.append(content or b"")
        return ProviderAnswer(status, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    return sent


def link(status: str = "active", **changes: object) -> dict[str, object]:
    url = "https://test.adyen.link/PL1"
    return {"id": "PL1", "reference": str(PAYMENT), "status": status, "url": url, **changes}


def test_the_merchant_account_is_added_to_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    request = ADAPTER.build_request(ORDER)
    sent = answer_with(monkeypatch, 201, link())
    fact = ADAPTER.create(ACCOUNT, PAYMENT, request)
    assert fact == Fact(FactKind.ACCEPTED, "PL1", "https://test.adyen.link/PL1")
    assert json.loads(sent[0]) == {**json.loads(request), "merchantAccount": "ShopECOM"}


@pytest.mark.parametrize("code", ["137", "138"])
def test_a_refused_amount_declines_the_payment(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    answer_with(monkeypatch, 422, {"errorCode": code, "message": "Invalid amount specified"})
    fact = ADAPTER.create(ACCOUNT, PAYMENT, b"{}")
    assert (fact.kind, fact.message) == (FactKind.DECLINED, "The provider did not accept this payment.")
    assert fact.technical == f"Invalid amount specified ({code})"


def test_another_refusal_is_ours_and_a_key_in_use_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, 422, {"errorCode": "702", "message": "returnUrl"})
    with pytest.raises(ProviderRefusedUs, match="returnUrl"):
        ADAPTER.create(ACCOUNT, PAYMENT, b"{}")
    answer_with(monkeypatch, 422, {"errorCode": "704", "message": "request already processed or in progress"})
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(ACCOUNT, PAYMENT, b"{}")


@pytest.mark.parametrize("status", ["completed", "paid", "paymentPending"])
def test_a_link_never_says_that_money_came(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    answer_with(monkeypatch, 200, link(status, amount={"currency": "EUR", "value": 2550}))
    fact = ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, "PL1"))
    assert fact == Fact(FactKind.COMMITTED, "PL1", settles_within_days=14)


def test_each_item_has_to_be_signed() -> None:
    body = signed(item("AUTHORISATION"), item("REFUND", refers=True))
    verify(body)
    verify(body, "ab" * 32, KEY)
    for spoil in (
        lambda items: items[1]["additionalData"].pop("hmacSignature"),
        lambda items: items[1]["amount"].update(value=1),
        lambda items: items[0].update(success="false"),
        lambda items: items[0].update(additionalData=None),
        lambda items: items.append(item("AUTHORISATION")),
    ):
        spoiled = copy.deepcopy(body)
        items = [each["NotificationRequestItem"] for each in spoiled["notificationItems"]]
        spoil(items)
        with pytest.raises(WebhookRejected):
            verify(notification(*items))
    with pytest.raises(WebhookRejected):
        verify(body, "ab" * 32)


@pytest.mark.parametrize("body", [None, [], {}, {"notificationItems": []}, {"notificationItems": [1]}])
def test_a_body_without_items_is_refused(body: object) -> None:
    with pytest.raises(WebhookRejected):
        verify(body)


@pytest.mark.parametrize("value", [1.5, True, [1], {"a": 1}])
def test_an_amount_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(WebhookRejected):
        verify(notification(item("AUTHORISATION", amount={"value": value, "currency": "EUR"})))


def test_what_is_not_signed_changes_no_id() -> None:
    body = signed(item("AUTHORISATION"))
    again = copy.deepcopy(body)
    again["notificationItems"][0]["NotificationRequestItem"]["eventDate"] = "2026-11-28T12:00:00+01:00"
    assert verify(again) == verify(body)
    assert verify(signed(item("AUTHORISATION", success=False))) != verify(body)


@pytest.mark.parametrize("secret", ["", "12345", "zz" * 32, "ab" * 23, base64.b64encode(b"x" * 32).decode()])
def test_a_key_is_hexadecimal_and_long_enough(secret: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        ADAPTER.check_secret(Scheme(), secret)


def test_a_split_that_could_be_another_is_no_fact() -> None:
    shifted = signed(item("AUTHORISATION", pspReference=f"{PSP}:", originalReference=""))
    verify(shifted)
    assert [type(event) for event in translate(shifted)] == [Ignored]


MONEY = {"amount_minor": 2550, "currency": "EUR"}
MARKS = {
    state: [Fact(FactKind.DISPUTE, dispute_id=REFUND, dispute_state=state)]  # type: ignore[arg-type]
    for state in ("opened", "won", "lost")
}
EVENTS: dict[str, tuple[bool, list[Fact]]] = {
    "AUTHORISATION": (False, [Fact(FactKind.SUCCEEDED, **MONEY, aliases=(PSP,))]),
    "PENDING": (False, [Fact(FactKind.COMMITTED, settles_within_days=14)]),
    "CANCELLATION": (True, [Fact(FactKind.CANCELLED)]),
    "TECHNICAL_CANCEL": (True, [Fact(FactKind.CANCELLED)]),
    "CAPTURE_FAILED": (True, [Fact(FactKind.REVERSED, **MONEY, reversal_id=REFUND)]),
    "REFUND": (True, [Fact(FactKind.REVERSED, **MONEY, reversal_id=REFUND, refund_id=PAYMENT)]),
    **dict.fromkeys(
        ("REFUND_FAILED", "REFUNDED_REVERSED"),
        (True, [Fact(FactKind.REINSTATED, **MONEY, reversal_id=REFUND, refund_id=PAYMENT)]),
    ),
    "NOTIFICATION_OF_CHARGEBACK": (True, [Fact(FactKind.DISPUTE, dispute_id=REFUND, dispute_state="opened")]),
    "CHARGEBACK": (
        True,
        [
            Fact(FactKind.REVERSED, **MONEY, reversal_id=REFUND),
            Fact(FactKind.DISPUTE, dispute_id=REFUND, dispute_state="opened"),
        ],
    ),
    "CHARGEBACK_REVERSED": (
        True,
        [
            Fact(FactKind.REINSTATED, **MONEY, reversal_id=REFUND),
            Fact(FactKind.DISPUTE, dispute_id=REFUND, dispute_state="won"),
        ],
    ),
    "SECOND_CHARGEBACK": (
        True,
        [
            Fact(FactKind.REVERSED, **MONEY, reversal_id=f"{REFUND}.2"),
            Fact(FactKind.DISPUTE, dispute_id=REFUND, dispute_state="lost"),
        ],
    ),
    "PREARBITRATION_WON": (True, [Fact(FactKind.REINSTATED, **MONEY, reversal_id=f"{REFUND}.2"), *MARKS["won"]]),
    # Of these the specification names no money.
    **{f"SCHEME_ARBITRATION_{state.upper()}": (True, MARKS[state]) for state in ("won", "lost")},
    **dict.fromkeys(("PREARBITRATION_OPEN", "SCHEME_ARBITRATION"), (True, MARKS["opened"])),
    "PREARBITRATION_ISSUER_WITHDRAWN": (True, MARKS["won"]),
    "DISPUTE_DEFENSE_PERIOD_ENDED": (True, [Fact(FactKind.DISPUTE, dispute_id=REFUND, dispute_state="lost")]),
}


@pytest.mark.parametrize("code", EVENTS)
def test_each_event_is_its_facts(code: str) -> None:
    refers, facts = EVENTS[code]
    told = translate(notification(item(code, refers=refers)))
    assert all(isinstance(each, Told) for each in told)
    assert [each.fact for each in told if isinstance(each, Told)] == facts
    assert {each.name for each in told if isinstance(each, Told)} == {PSP if refers else PAYMENT}
    assert len({each.event_id for each in told}) == len(facts)
    if code not in ("AUTHORISATION", "REFUND"):
        (failed,) = translate(notification(item(code, success=False, refers=refers)))
        assert isinstance(failed, Ignored)


def test_a_declined_attempt_and_a_session_that_was_left_end_nothing() -> None:
    declined, left = translate(notification(item("AUTHORISATION", success=False), item("OFFER_CLOSED"), live="true"))
    assert isinstance(declined, Told)
    assert (declined.fact, declined.is_live) == (Fact(FactKind.ATTEMPT_DECLINED), True)
    assert isinstance(left, Asks)
    assert left.name == PAYMENT


def test_what_is_not_ours_is_ignored() -> None:
    foreign = [item("AUTHORISATION", merchantReference="order 7"), item("REFUND", refers=True, merchantReference="7")]
    assert [type(each) for each in translate(notification(*foreign, item("REPORT_AVAILABLE")))] == [Ignored] * 3
    assert name_payment(notification(foreign[0])) is None
    assert name_payment(notification(item("REFUND", refers=True))) == PSP
    assert name_payment({"notificationItems": [{}]}) is None


@pytest.mark.parametrize("body", [{}, {"live": "no"}, notification(item("AUTHORISATION", amount={})), {"live": "true"}])
def test_what_cannot_be_read_is_unusable(body: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        translate(body)
