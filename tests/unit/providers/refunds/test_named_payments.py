"""Refunds that name their payment by an id that is not its reference: at Adyen and GoCardless, as plain values."""

from __future__ import annotations

import json
import urllib.parse
import uuid
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ProviderCallFailed, ProviderRefusedUs, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.providers import Account, RefundSubject, Told
from app.providers.adapters.adyen import AdyenAdapter, adyen_events
from app.providers.adapters.gocardless import GoCardlessAdapter
from app.providers.calls.outgoing import Outgoing, ProviderAnswer
from tests.unit.published.adyen_schemas import REFUND_REQUEST

PAYMENT, REFUND = uuid.UUID(int=1), uuid.UUID(int=2)
OWN = {"payment_id": str(PAYMENT), "refund_id": str(REFUND)}
ADYEN, GOCARDLESS = AdyenAdapter(frozenset()), GoCardlessAdapter(frozenset())
ADYEN_ACCOUNT = Account(uuid.uuid4(), "https://adyen.example", {"api_key": "AQEa", "merchant_account": "Shop"})
GOCARDLESS_ACCOUNT = Account(uuid.uuid4(), "https://gocardless.example", {"api_key": "sandbox_a"})
PSP = "8835511210681324"
AT_ADYEN = RefundSubject(REFUND, PAYMENT, "PL1", 1050, "EUR", aliases=(PSP,))
AT_GOCARDLESS = RefundSubject(REFUND, PAYMENT, "BRQ1", 1050, "GBP", aliases=("PM1",))


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: tuple[int, object]) -> list[tuple[str, str, Any]]:
    """Answer the calls so, one after the other; return method, path and body of each."""
    waiting, sent = list(answers), list[tuple[str, str, Any]]()

    def send(self: Outgoing, method: str, url: str, headers: object, content: bytes | None = None) -> ProviderAnswer:
        sent.append((method, url.partition(".example")[2], json.loads(content) if content else None))
        status, body = waiting.pop(0)
        return ProviderAnswer(status, json.dumps(body).encode(), None)

    monkeypatch.setattr(Outgoing, "send", send)
    return sent


def at_adyen(subject: RefundSubject = AT_ADYEN) -> Fact:
    return ADYEN.refund(ADYEN_ACCOUNT, subject, ADYEN.build_refund(subject))


def at_gocardless(subject: RefundSubject = AT_GOCARDLESS) -> Fact:
    return GOCARDLESS.refund(GOCARDLESS_ACCOUNT, subject, GOCARDLESS.build_refund(subject))


def received(**changes: object) -> dict[str, object]:
    """Return Adyen's answer to a refund call."""
    shown = {"pspReference": "RF1", "paymentPspReference": PSP, "reference": str(REFUND), "status": "received"}
    return {**shown, "merchantAccount": "Shop", "amount": {"currency": "EUR", "value": 1050}, **changes}


def row(name: str, status: str, amount: int, **metadata: str) -> dict[str, Any]:
    """Return a refund as GoCardless shows it."""
    return {"id": name, "status": status, "amount": amount, "currency": "GBP", "metadata": metadata}


def listed(*rows: dict[str, Any]) -> tuple[int, object]:
    return 200, {"refunds": list(rows), "meta": {"cursors": {"before": None, "after": None}}}


def refused(*errors: dict[str, Any], status: int = 422) -> tuple[int, object]:
    return status, {"error": {"type": "invalid_state", "message": "refused", "code": status, "errors": list(errors)}}


def test_adyen_is_called_with_its_reference_of_the_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answer_with(monkeypatch, (201, received()))
    assert at_adyen() == Fact(FactKind.REFUND_STATE, reversal_id="RF1", refund_state="processing")
    ((method, path, body),) = sent
    assert (method, path) == ("POST", f"/v71/payments/{PSP}/refunds")
    REFUND_REQUEST.validate(body)
    amount = {"currency": "EUR", "value": 1050}
    assert body == {"merchantAccount": "Shop", "amount": amount, "reference": str(REFUND)}


@pytest.mark.parametrize("aliases", [(), ("PL1",), (PSP, "9935511210681324")])
def test_adyen_is_not_called_where_the_payment_is_a_guess(
    monkeypatch: pytest.MonkeyPatch, aliases: tuple[str, ...]
) -> None:
    sent = answer_with(monkeypatch)
    with pytest.raises(UnexpectedAnswer, match="known payments"):
        at_adyen(replace(AT_ADYEN, aliases=aliases))
    assert sent == []


@pytest.mark.parametrize(
    "changes", [{"reference": str(PAYMENT)}, {"paymentPspReference": "9"}, {"status": "refunded"}, {"pspReference": ""}]
)
def test_another_answer_of_adyens_is_unusable(monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    answer_with(monkeypatch, (201, received(**changes)))
    with pytest.raises(UnexpectedAnswer):
        at_adyen()


def test_adyens_refusals_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"137": "Invalid amount specified", "167": "Original pspReference required", "704": "in progress"}
    bodies = [(422, {"errorCode": code, "message": text}) for code, text in answers.items()]
    answer_with(monkeypatch, *bodies, (422, []), (500, {}))
    assert at_adyen() == Fact(FactKind.REFUND_STATE, refund_state="failed", message="Invalid amount specified")
    with pytest.raises(ProviderRefusedUs, match="Original"):
        at_adyen()
    for _ in range(2):
        with pytest.raises(UnexpectedAnswer):
            at_adyen()
    with pytest.raises(ProviderCallFailed):
        at_adyen()


@pytest.mark.parametrize("code", ["REFUND", "REFUND_WITH_DATA"])
def test_a_refund_that_adyen_refuses_later_has_failed(code: str) -> None:
    fields = {"eventCode": code, "pspReference": "RF1", "originalReference": PSP, "merchantReference": str(REFUND)}
    item = fields | {"success": "false", "amount": {"value": 1050, "currency": "EUR"}}
    (told,) = adyen_events.translate({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})
    assert isinstance(told, Told)
    wanted = Fact(FactKind.REFUND_STATE, reversal_id="RF1", refund_id=REFUND, refund_state="failed")
    assert (told.name, told.fact) == (PSP, wanted)


def test_gocardless_is_told_what_is_refunded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [row("RF1", "paid", 200), row("RF2", "failed", 400), row("RF3", "submitted", 50)]
    made = row("RF9", "pending_submission", 1050, **OWN)
    sent = answer_with(monkeypatch, listed(*others), (201, {"refunds": made}))
    assert at_gocardless() == Fact(FactKind.REFUND_STATE, reversal_id="RF9", refund_state="processing")
    assert [(method, path) for method, path, _ in sent] == [
        ("GET", "/refunds?limit=100&payment=PM1"),
        ("POST", "/refunds"),
    ]
    asked = {"amount": 1050, "total_amount_confirmation": 1300, "links": {"payment": "PM1"}, "metadata": OWN}
    assert sent[1][2] == {"refunds": asked}


def test_a_refund_that_gocardless_has_is_made_no_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = row("RF9", "paid", 1050, **OWN)
    sent = answer_with(monkeypatch, listed(row("RF1", "paid", 200), made))
    assert at_gocardless() == Fact(FactKind.REFUND_STATE, reversal_id="RF9", refund_state="completed")
    assert len(sent) == 1
    # The list may lag behind the key.
    links = {"reason": "idempotent_creation_conflict", "links": {"conflicting_resource_id": "RF9"}}
    sent = answer_with(monkeypatch, listed(), refused(links, status=409), (200, {"refunds": made}))
    assert at_gocardless().refund_state == "completed"
    assert sent[-1][:2] == ("GET", "/refunds/RF9")


@pytest.mark.parametrize("aliases", [(), ("PM1", "PM2")])
def test_gocardless_is_asked_for_the_payment_where_it_is_a_guess(
    monkeypatch: pytest.MonkeyPatch, aliases: tuple[str, ...]
) -> None:
    request = {"metadata": {"payment_id": str(PAYMENT)}, "links": {"payment_request_payment": "PM2"}}
    made = row("RF9", "created", 1050, **OWN)
    sent = answer_with(monkeypatch, (200, {"billing_requests": request}), listed(), (201, {"refunds": made}))
    assert at_gocardless(replace(AT_GOCARDLESS, aliases=aliases)).refund_state == "processing"
    assert sent[0][1] == "/billing_requests/BRQ1"
    assert sent[2][2]["refunds"]["links"] == {"payment": "PM2"}
    answer_with(monkeypatch, (200, {"billing_requests": {**request, "links": {}}}))
    with pytest.raises(UnexpectedAnswer, match="no payment"):
        at_gocardless(replace(AT_GOCARDLESS, aliases=aliases))


def test_gocardless_statuses_are_the_refunds(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        **dict.fromkeys(("created", "pending_submission", "submitted"), "processing"),
        "paid": "completed",
        **dict.fromkeys(("cancelled", "failed", "bounced", "funds_returned"), "failed"),
    }
    for status, state in states.items():
        sent = answer_with(monkeypatch, (200, {"refunds": row("RF9", status, 1050, **OWN)}))
        found = GOCARDLESS.fetch_refund(GOCARDLESS_ACCOUNT, replace(AT_GOCARDLESS, reference="RF9"))
        assert (found.refund_state, found.reversal_id) == (state, "RF9")
        assert sent[0][1] == "/refunds/RF9"
    for body in (row("RF9", "melted", 1, **OWN), row("RF9", "paid", 1, payment_id=str(PAYMENT))):
        answer_with(monkeypatch, (200, {"refunds": body}))
        with pytest.raises(UnexpectedAnswer):
            GOCARDLESS.fetch_refund(GOCARDLESS_ACCOUNT, replace(AT_GOCARDLESS, reference="RF9"))
    answer_with(monkeypatch, (404, {}))
    found = GOCARDLESS.fetch_refund(GOCARDLESS_ACCOUNT, replace(AT_GOCARDLESS, reference="RF9"))
    assert found == Fact(FactKind.NOT_FOUND)


def test_gocardless_refusals_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    about_it = [
        {"reason": "refund_payment_invalid_state", "message": "not confirmed"},
        {"reason": "number_of_refunds_exceeded", "message": "five"},
        {"reason": "available_refund_amount_insufficient", "message": "no balance"},
        {"field": "amount", "message": "too much"},
    ]
    for error in about_it:
        answer_with(monkeypatch, listed(), refused(error))
        wanted = Fact(FactKind.REFUND_STATE, refund_state="failed", message=error["message"])
        assert at_gocardless() == wanted
    others: list[tuple[tuple[int, object], type[Exception]]] = [
        (refused({"reason": "total_amount_confirmation_invalid", "message": "x"}), UnexpectedAnswer),
        (refused({"reason": "idempotent_creation_conflict", "message": "x"}, status=409), UnexpectedAnswer),
        (refused({"field": "metadata", "message": "x"}), ProviderRefusedUs),
        ((422, {}), UnexpectedAnswer),
        ((401, {}), ProviderRefusedUs),
        ((503, {}), ProviderCallFailed),
    ]
    for answer, kind in others:
        answer_with(monkeypatch, listed(), answer)
        with pytest.raises(kind):
            at_gocardless()


def test_a_list_that_cannot_be_read_makes_no_refund(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ((200, {}), (500, {}), listed({**row("RF1", "paid", 200), "currency": "JPY"})):
        sent = answer_with(monkeypatch, answer)
        with pytest.raises(ProviderCallFailed):
            at_gocardless()
        assert [method for method, _, _ in sent] == ["GET"]
    assert urllib.parse.urlsplit(sent[0][1]).path == "/refunds"
