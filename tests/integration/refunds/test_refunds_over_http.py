"""Refunds over HTTP and on the command line (CONTRACT section 10): the whole of one, its repeats, and refusals."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

import pytest
import requests

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.providers.adapters.sandbox import SandboxAdapter
from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.refunds.refund_requests import ask, check_books, pay
from tests.support.clients.api import Api, fields_of, problem_of
from tests.support.commands import Commands
from tests.support.engine import Engine

FIELDS = {
    *("id", "payment_id", "amount", "amount_minor", "currency", "status", "provider_reference", "reason"),
    *("failure_reason", "metadata", "created_at", "updated_at"),
}


def post(api: Api, payment: Payment, key: str, body: dict[str, Any] | None = None) -> requests.Response:
    """Ask for a refund over HTTP."""
    return api.post(f"/api/payments/{payment.id}/refunds", body, {"Idempotency-Key": key})


def wallet(api: Api, payment: Payment) -> tuple[str, str, str]:
    """Return balance, held and available of the user's one wallet."""
    (found,) = api.get(f"/api/wallets/{payment.user_id}").json()["data"]
    return found["balance"], found["held"], found["available"]


def test_a_refund_from_the_request_to_the_message(api: Api, front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    asked = {"amount": "10.00", "reason": "came back", "metadata": {"order": "7"}}
    answer = post(api, payment, "first", asked)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (202, False)
    refund = answer.json()
    assert answer.headers["Location"] == f"/api/refunds/{refund['id']}"
    assert refund.keys() == FIELDS
    known = {name: refund[name] for name in FIELDS - {"id", "created_at", "updated_at"}}
    assert known == {
        "payment_id": str(payment.id),
        "amount": "10.00",
        "amount_minor": 1000,
        "currency": "USD",
        "status": "pending",
        "provider_reference": None,
        "failure_reason": None,
        "reason": "came back",
        "metadata": {"order": "7"},
    }
    assert wallet(api, payment) == ("25.00", "10.00", "15.00")
    engine.call()
    done = api.get(f"/api/refunds/{refund['id']}").json()
    assert (done["status"], done["provider_reference"] is not None) == ("completed", True)
    assert api.get(f"/api/payments/{payment.id}/refunds").json() == {"data": [done]}
    assert wallet(api, payment) == ("15.00", "0.00", "15.00")
    shown = api.read(payment.id)
    assert (shown["status"], shown["exception"], shown["reversed_amount_minor"]) == ("completed", None, 1000)
    engine.number()
    (event,) = [one for one in api.get("/api/events", after=0).json()["data"] if one["type"].startswith("refund.")]
    assert (event["type"], event["refund"], event["payment"]["id"]) == ("refund.completed", done, str(payment.id))
    entries = api.get(f"/api/wallets/{payment.user_id}/transactions").json()["data"]
    assert [(one["type"], one["amount"]) for one in entries] == [("refund", "-10.00"), ("deposit", "25.00")]
    # The same request is the same refund, also when it is done; another body is refused, for another payment too.
    again = post(api, payment, "first", asked)
    assert (again.status_code, again.headers["Idempotent-Replayed"], again.json()) == (202, "true", done)
    reused = post(api, payment, "first", asked | {"amount": "9.00"})
    assert problem_of(reused, 422)["code"] == "idempotency_key_reused"
    problem_of(post(api, pay(front, engine, shop, silent=True), "first", asked), 422)
    engine.call()
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1
    check_books(engine, shop)


def test_a_refusal_by_the_provider_is_a_message(api: Api, front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    refund = post(api, payment, "refused").json()
    front.sandbox.act(str(payment.provider_reference), "refund")
    engine.call()
    failed = api.get(f"/api/refunds/{refund['id']}").json()
    assert (failed["status"], bool(failed["failure_reason"])) == ("failed", True)
    assert wallet(api, payment) == ("25.00", "0.00", "25.00")
    engine.number()
    (event,) = [one for one in api.get("/api/events", after=0).json()["data"] if one["type"].startswith("refund.")]
    assert (event["type"], event["refund"]) == ("refund.failed", failed)


def test_a_refusal_uses_no_key_up(api: Api, front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    problem_of(post(api, payment, "kept", {"amount": "25.01"}), 409)
    assert fields_of(post(api, payment, "kept", {"amount": "0.00"})) == {"amount"}
    assert fields_of(api.post(f"/api/payments/{payment.id}/refunds"), 400) == {"Idempotency-Key"}
    problem_of(api.post(f"/api/payments/{uuid.uuid4()}/refunds", None, {"Idempotency-Key": "kept"}), 404)
    assert api.get(f"/api/payments/{payment.id}/refunds").json() == {"data": []}
    assert wallet(api, payment) == ("25.00", "0.00", "25.00")
    assert post(api, payment, "kept", {"amount": "25.00"}).status_code == 202
    problem_of(post(api, payment, "another"), 409)
    engine.call()


def test_a_disputed_payment_is_not_refunded(api: Api, front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop)
    body = {
        "provider_id": str(shop.provider_id),
        "event_id": "dispute-1",
        "event_type": "payment.disputed",
        "transaction_id": str(payment.id),
        "provider_reference": payment.provider_reference,
        "status": "disputed",
        "amount": "25.00",
        "currency": "USD",
        "dispute_id": "dp_1",
        "outcome": "opened",
    }
    shop.deliver(json.dumps(body).encode(), "provider")
    engine.settle()
    assert api.read(payment.id)["exception"] == "disputed"
    assert problem_of(post(api, payment, "kept"), 409)["code"] == "disputed"
    won = body | {"event_id": "dispute-2", "outcome": "won"}
    shop.deliver(json.dumps(won).encode(), "provider")
    engine.settle()
    engine.call()
    assert post(api, payment, "kept").status_code == 202
    engine.call()


def test_an_adapter_that_cannot_refund_is_said(
    front: Stack, engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay(front, engine, shop, silent=True)
    with monkeypatch.context() as patched:
        unable = dataclasses.replace(SandboxAdapter.capabilities, can_refund=False)
        patched.setattr(SandboxAdapter, "capabilities", unable)
        with pytest.raises(RequestRejected) as refused:
            ask(shop, payment, key="kept")
    assert (refused.value.status, refused.value.code) == (422, "refunds_not_supported")
    assert not ask(shop, payment, key="kept").is_replayed
    engine.call()


def test_the_command_asks_lists_and_shows(front: Stack, engine: Engine, shop: Shop) -> None:
    commands = Commands(front.databases)
    payment = pay(front, engine, shop, silent=True)
    assert commands.text("refunds", "list", str(payment.id)) == "No refunds.\n"
    asked = ("refunds", "create", str(payment.id), "--amount", "10.00")
    shown = commands.run(*asked, stdin="n\n")
    assert (shown.exit_code, "10.00 of payment" in shown.stderr, "25.00 USD came" in shown.stderr) == (1, True, True)
    commands.error(*asked, code=2)
    assert commands.text("refunds", "list", str(payment.id)) == "No refunds.\n"
    arguments = (*asked, "--reason", "came back", "--key", "cli-1", "--yes")
    made = commands.json(*arguments)
    assert (made["status"], made["amount"], made["reason"]) == ("pending", "10.00", "came back")
    assert commands.json(*arguments)["id"] == made["id"]
    assert "more than is left" in commands.error("refunds", "create", str(payment.id), "--amount", "15.01", "--yes")
    assert "amount: " in commands.error("refunds", "create", str(payment.id), "--amount", "15.001", "--yes")
    engine.call()
    shown = commands.json("refunds", "show", made["id"])
    assert (shown["status"], shown["id"]) == ("completed", made["id"])
    assert "completed" in commands.text("refunds", "show", made["id"])
    assert made["id"] in commands.text("refunds", "list", str(payment.id))
    commands.error("refunds", "show", str(uuid.uuid4()))
    story = commands.text("payments", "explain", str(payment.id))
    for words in (
        "a refund of 10.00 USD is asked for",
        "The provider is asked to give money back",
        "the refund is completed",
        "10.00 USD of the user's wallet went back to the payer (refund); its balance is 15.00 USD",
    ):
        assert words in story
