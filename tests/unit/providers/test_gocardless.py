"""GoCardless's requests, refusals, states and events, as far as they are plain values."""

from __future__ import annotations

import datetime
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ProviderRefusedUs, UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind
from app.core.money import CurrencyError
from app.providers import Account, Asks, Delivered, Ignored, Order, Subject, Told
from app.providers.adapters.gocardless import GoCardlessAdapter
from app.providers.calls.outgoing import Outgoing, ProviderAnswer

ADAPTER = GoCardlessAdapter(frozenset())
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
PAYMENT = uuid.UUID("01a2200b-1428-703a-9cfa-e203ef16ec93")
ACCOUNT = Account(uuid.uuid4(), "https://api-sandbox.gocardless.com", {"api_key": "sandbox_a"})
ORDER = Order(
    payment_id=PAYMENT,
    amount_minor=2550,
    currency="GBP",
    callback_urls={},
    success_url="https://shop.example/ok",
    failure_url="https://shop.example/no",
    created_at=NOW,
    expires_at=NOW + datetime.timedelta(minutes=30),
    metadata={"order": "7ü", "payment_id": "another"},
    customer={"email": "ann@example.com"},
)
OURS = {"payment_id": str(PAYMENT)}
REQUEST = {
    "id": "BRQ1",
    "status": "fulfilled",
    "metadata": OURS,
    "payment_request": {"amount": 2550, "currency": "GBP"},
    "links": {"payment_request_payment": "PM1"},
}


def test_a_request_has_the_bodies_of_both_calls() -> None:
    wanted, flow = (json.loads(line) for line in ADAPTER.build_request(ORDER).split(b"\n"))
    named = {"order": "7ü", "payment_id": str(PAYMENT)}
    assert wanted == {
        "billing_requests": {
            "payment_request": {"amount": 2550, "currency": "GBP", "description": "Deposit", "metadata": named},
            "metadata": named,
        }
    }
    assert flow == {
        "redirect_uri": ORDER.success_url,
        "exit_uri": ORDER.failure_url,
        "prefilled_customer": {"email": "ann@example.com"},
    }
    plain = replace(ORDER, failure_url=None, customer={}, description="a\nb")
    wanted, flow = (json.loads(line) for line in ADAPTER.build_request(plain).split(b"\n"))
    assert wanted["billing_requests"]["payment_request"]["description"] == "a\nb"
    assert flow == {"redirect_uri": ORDER.success_url, "exit_uri": ORDER.success_url}
    assert ADAPTER.build_request(replace(ORDER)) == ADAPTER.build_request(ORDER)


def test_a_currency_that_gocardless_does_not_take_is_refused() -> None:
    with pytest.raises(CurrencyError):
        ADAPTER.build_request(replace(ORDER, currency="USD"))


def test_the_url_says_the_mode_and_the_version_is_sent() -> None:
    urls = {
        "https://api.gocardless.com": "live",
        "https://api-sandbox.gocardless.com": "test",
        "https://x.example": None,
    }
    assert {url: ADAPTER.read_mode(replace(ACCOUNT, api_base_url=url)) for url in urls} == urls
    assert ADAPTER.authorize(ACCOUNT) == {"Authorization": "Bearer sandbox_a", "GoCardless-Version": "2015-07-06"}


def answer(monkeypatch: pytest.MonkeyPatch, bodies: dict[str, object], status: int = 200) -> list[str]:
    """Let each path be answered so, and return the list of what is asked; posts get `status`."""
    asked: list[str] = []

    def send(outgoing: object, method: str, url: str, *_: object) -> ProviderAnswer:
        path = url.removeprefix(ACCOUNT.api_base_url)
        asked.append(path)
        body = json.dumps(bodies[path.partition("?")[0]]).encode()
        return ProviderAnswer(status if method == "POST" else 200, body, None)

    monkeypatch.setattr(Outgoing, "send", send)
    return asked


def refuse(monkeypatch: pytest.MonkeyPatch, status: int = 422, **error: Any) -> Fact:
    answer(monkeypatch, {"/billing_requests": {"error": error}}, status)
    return ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))


def test_a_refusal_of_our_own_fields_is_no_decline(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [{"field": "amount", "message": "is too small"}, {"field": "redirect_uri", "message": "is invalid"}]
    with pytest.raises(ProviderRefusedUs, match=r"is too small; is invalid \(amount, redirect_uri\)"):
        refuse(monkeypatch, type="validation_failed", errors=errors)
    with pytest.raises(ProviderRefusedUs, match=r"Creditor is not verified \(invalid_state\)"):
        refuse(monkeypatch, type="invalid_state", message="Creditor is not verified")


def test_a_refusal_of_the_amount_is_a_decline_with_a_neutral_text(monkeypatch: pytest.MonkeyPatch) -> None:
    fact = refuse(monkeypatch, type="validation_failed", errors=[{"field": "amount", "message": "is too small"}])
    assert (fact.kind, fact.message) == (FactKind.DECLINED, "The provider did not accept this payment.")
    assert "too small" in str(fact.technical)


@pytest.mark.parametrize("errors", [[], [{"reason": "idempotent_creation_conflict", "links": {}}], ["x"]])
def test_a_conflict_that_names_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch, errors: list[object]) -> None:
    with pytest.raises(UnexpectedAnswer):
        refuse(monkeypatch, 409, type="invalid_state", errors=errors)


@pytest.mark.parametrize("body", [None, [], {}, {"error": None}, {"error": "x"}])
def test_a_refusal_that_cannot_be_read_is_no_decline(monkeypatch: pytest.MonkeyPatch, body: object) -> None:
    answer(monkeypatch, {"/billing_requests": body}, 422)
    with pytest.raises(UnexpectedAnswer):
        ADAPTER.create(ACCOUNT, PAYMENT, ADAPTER.build_request(ORDER))


def test_an_unknown_status_is_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: dict[str, object] = {
        "/billing_requests/BRQ1": {"billing_requests": REQUEST},
        "/payments/PM1": {"payments": {"id": "PM1", "status": "paused", "amount": 2550, "currency": "GBP"}},
    }
    answer(monkeypatch, bodies)
    with pytest.raises(UnexpectedAnswer, match="paused"):
        ADAPTER.fetch(ACCOUNT, Subject(PAYMENT, "BRQ1"))


def event(kind: str, event_id: str = "EV1", **more: Any) -> dict[str, Any]:
    resource, action = kind.split(".")
    return {"id": event_id, "resource_type": resource, "action": action, **more}


def translate(*events: object) -> list[object]:
    body = json.dumps({"events": events}).encode()
    return list(ADAPTER.translate(Delivered("provider", body, {})))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (event("payments.confirmed", links={"payment": "PM1"}), Asks("PM1", "EV1")),
        (event("payments.failed", links={"payment": "PM1"}, resource_metadata=OURS), Asks(PAYMENT, "EV1")),
        (event("billing_requests.fulfilled", links={"billing_request": "BRQ1"}), Asks("BRQ1", "EV1")),
        (event("refunds.paid", links={"refund": "RF1", "payment": "PM1"}), Asks("PM1", "EV1")),
        (event("payments.chargeback_settled", links={"payment": "PM1"}), Asks("PM1", "EV1")),
        (event("payments.late_failure_settled", links={"payment": "PM1"}), Asks("PM1", "EV1")),
        (
            event(
                "billing_requests.bank_authorisation_denied",
                links={"billing_request": "BRQ1"},
                resource_metadata=OURS,
                details={"description": "No cover on 4242424242424242."},
            ),
            Told(PAYMENT, Fact(FactKind.ATTEMPT_DECLINED, message="No cover on [card ...4242]."), "EV1"),
        ),
    ],
)
def test_each_event_names_its_payment(given: dict[str, Any], expected: object) -> None:
    assert translate(given) == [expected]
    assert ADAPTER.name_payment("provider", {"events": [given]}) == expected.name  # type: ignore[attr-defined]


def test_an_event_that_names_no_payment_is_not_taken_for_the_one_beside_it() -> None:
    said = translate(
        event("billing_requests.fulfilled", links={"billing_request": "BRQ1"}),
        event("refunds.paid", "EV2", links={"refund": "RF1"}),
    )
    assert said == [Asks("BRQ1", "EV1"), Ignored("no payment of ours", "EV2")]


def test_a_payment_that_comes_with_its_request_is_named_by_that() -> None:
    both = {"billing_request": "BRQ1", "payment_request_payment": "PM1"}
    said = translate(
        event("billing_requests.fulfilled", links=both), event("payments.confirmed", "EV2", links={"payment": "PM1"})
    )
    assert said == [Asks("BRQ1", "EV1"), Asks("BRQ1", "EV2")]


@pytest.mark.parametrize(
    "given",
    [
        event("mandates.created", links={"mandate": "MD1"}),
        event("payments.submitted", links={"payment": "PM1"}),
        event("payments.confirmed", links=None),
        event("payments.confirmed", links={"payment": 7}),
        event("billing_requests.bank_authorisation_failed", links={"billing_request": "BRQ1"}),
    ],
)
def test_what_is_not_ours_or_of_no_interest_is_ignored(given: dict[str, Any]) -> None:
    (said,) = translate(given)
    assert isinstance(said, Ignored)
    assert said.event_id == "EV1"


@pytest.mark.parametrize("body", [{}, {"events": None}, {"events": [1]}, {"events": [{"id": 7}]}])
def test_what_cannot_be_read_is_for_a_person(body: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        ADAPTER.translate(Delivered("provider", json.dumps(body).encode(), {}))


@pytest.mark.parametrize("body", [None, [], {}, {"events": []}, {"events": [1]}, {"events": [{"links": 1}]}])
def test_a_body_that_names_nothing_names_nothing(body: object) -> None:
    assert ADAPTER.name_payment("provider", body) is None
