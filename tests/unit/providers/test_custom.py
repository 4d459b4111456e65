"""The create call of a tenant's own app, as its operator describes it."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from app.core.errors import ProviderRefusedUs, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.providers import Account, Order, Subject
from app.providers.adapters.custom import CustomAdapter
from app.providers.calls.outgoing import Outgoing, ProviderAnswer
from app.providers.credentials import CredentialError, check_credentials

ADAPTER = CustomAdapter(frozenset())
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
ORDER = Order(PAYMENT, 2550, "EUR", {}, "https://shop.example/ok", None, NOW, NOW, {"a": "b"})
CALL = {
    "path": "/api/charges",
    "method": "PUT",
    "auth_header": "X-Api-Key",
    "auth_prefix": "",
    "key_header": "X-Once",
    "fields": {"merchant_reference": "order_id", "amount": "total", "metadata": None, "callback_urls": "hooks"},
    "answer": {"reference": "charge", "redirect_url": "pay_at", "merchant_reference": "order_id"},
}
ANSWER = {"charge": "ch_1", "pay_at": "https://pay.acme.example/ch_1", "order_id": str(PAYMENT)}


def account(call: object = None) -> Account:
    described = {} if call is None else {"create_call": json.dumps(call)}
    return Account(uuid.uuid4(), "https://pay.acme.example", {"api_key": "key_of_the_app", **described})


class Sent:
    """What was sent last, and the answer that each call gets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int, body: object) -> None:
        sent = self

        def send(
            self: Outgoing, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
        ) -> ProviderAnswer:
            sent.call, sent.headers, sent.body = f"{method} {url}", headers, content or b"null"
            return ProviderAnswer(status, json.dumps(body).encode(), None)

        monkeypatch.setattr(Outgoing, "send", send)


def test_the_call_is_made_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(monkeypatch, 201, ANSWER)
    fact = ADAPTER.create(account(CALL), PAYMENT, ADAPTER.build_request(ORDER))
    assert fact == Fact(FactKind.ACCEPTED, "ch_1", "https://pay.acme.example/ch_1")
    assert sent.call == "PUT https://pay.acme.example/api/charges"
    assert (sent.headers["X-Api-Key"], sent.headers["X-Once"]) == ("key_of_the_app", str(PAYMENT))
    assert "Authorization" not in sent.headers
    assert json.loads(sent.body) == {
        "total": "25.50",
        "currency": "EUR",
        "order_id": str(PAYMENT),
        "hooks": {},
        "success_url": "https://shop.example/ok",
        "failure_url": None,
        "expires_at": "2026-11-28T12:00:00.000000Z",
    }


def test_an_app_that_asks_the_payer_on_a_device_has_a_prompt_and_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = CALL | {"answer": {"reference": "charge", "prompt": "say", "merchant_reference": "order_id"}}
    Sent(monkeypatch, 201, ANSWER | {"say": "Confirm on your phone."})
    fact = ADAPTER.create(account(asks), PAYMENT, ADAPTER.build_request(ORDER))
    assert fact == Fact(FactKind.ACCEPTED, "ch_1", prompt="Confirm on your phone.")
    Sent(monkeypatch, 201, ANSWER | {"redirect_url": "javascript:alert(1)", "say": "Confirm."})
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(account(asks), PAYMENT, ADAPTER.build_request(ORDER))


@pytest.mark.parametrize("status", [400, 422])
def test_only_a_refusal_with_its_code_fails_the_payment(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    Sent(monkeypatch, status, {"error": {"code": "payment_declined", "message": "Not in your country."}})
    declined = ADAPTER.create(account(CALL), PAYMENT, ADAPTER.build_request(ORDER))
    assert declined == Fact(FactKind.DECLINED, message="Not in your country.")
    for body in ({"error": {"code": "odd", "message": "no such field"}}, {"error": "no"}, {}, [], "no"):
        Sent(monkeypatch, status, body)
        with pytest.raises(ProviderRefusedUs):
            ADAPTER.create(account(CALL), PAYMENT, ADAPTER.build_request(ORDER))


def test_without_a_description_it_is_the_sandboxs(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(monkeypatch, 200, {"reference": "sbx_1", "redirect_url": "https://pay.acme.example/1"})
    request = ADAPTER.build_request(ORDER)
    assert ADAPTER.create(account(), PAYMENT, request).reference == "sbx_1"
    assert sent.call == "POST https://pay.acme.example/v1/payments"
    assert (sent.headers["Authorization"], sent.body) == ("Bearer key_of_the_app", request)


def test_other_calls_are_below_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(monkeypatch, 404, {})
    assert ADAPTER.fetch(account(CALL), Subject(PAYMENT, "ch_1")).kind is FactKind.NOT_FOUND
    assert sent.call == "GET https://pay.acme.example/api/charges/ch_1"


def test_an_answer_about_another_payment_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    Sent(monkeypatch, 201, ANSWER | {"order_id": str(uuid.uuid4())})
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(account(CALL), PAYMENT, ADAPTER.build_request(ORDER))


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "api"},
        {"path": "/../admin"[3:] + "?x=1"},
        {"method": "DELETE"},
        {"auth_header": "X Key"},
        {"auth_prefix": "a\r\nX: "},
        {"key_header": ""},
        {"fields": {"amount": None}},
        {"fields": {"amount": "currency"}},
        {"fields": {"price": "total"}},
        {"fields": []},
        {"answer": {"reference": None}},
        {"answer": {"status": "state"}},
        {"headers": {}},
    ],
)
def test_a_description_that_cannot_be_used_is_refused_when_it_is_entered(changes: dict[str, Any]) -> None:
    good = {"api_key": "key", "create_call": json.dumps(CALL)}
    check_credentials(ADAPTER.credentials, good)
    with pytest.raises(CredentialError):
        check_credentials(ADAPTER.credentials, good | {"create_call": json.dumps(CALL | changes)})


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"path": "/a", "path": "/b"}'])
def test_a_description_is_an_object(text: str) -> None:
    with pytest.raises(CredentialError):
        check_credentials(ADAPTER.credentials, {"api_key": "key", "create_call": text})
