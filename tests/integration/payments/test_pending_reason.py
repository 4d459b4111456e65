"""A deposit that the provider refuses for our configuration says so, and continues once that is put right."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest

from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.commands import Commands
from tests.support.engine import Engine

REASON = "provider_configuration"


def refuse(front: Stack, engine: Engine, payment: dict[str, Any], status: int = 401) -> None:
    front.sandbox.script(match={"merchant_reference": payment["id"]}, create={"status": status})
    engine.call()


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410, 415])
def test_a_refusal_of_us_is_seen_wherever_the_payment_is_read(
    front: Stack, engine: Engine, shop: Shop, api: Api, status: int
) -> None:
    payment = api.deposit("key").json()
    assert payment["pending_reason"] is None
    refuse(front, engine, payment, status)
    client = Api(front.web, shop.token("ann"))
    seen = [
        api.read(payment["id"]),
        client.read(payment["id"]),
        api.get("/api/payments").json()["data"][0],
        api.deposit("key").json(),
        Commands(front.databases).json("payments", "show", payment["id"])["payment"],
    ]
    assert [(one["status"], one["pending_reason"]) for one in seen] == [("pending", REASON)] * len(seen)
    assert "sluice providers update" in Commands(front.databases).text("payments", "explain", payment["id"])
    other = api.deposit().json()
    assert api.read(other["id"])["pending_reason"] is None


def test_calls_that_are_used_up_are_said_too(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    Commands(front.databases).json("providers", "update", str(shop.provider_id), "--attempts", "1")
    payment = api.deposit().json()
    refuse(front, engine, payment, 500)
    assert api.read(payment["id"])["pending_reason"] == "provider_unavailable"


def test_the_payment_continues_once_the_key_is_right_and_it_is_redriven(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    commands, provider = Commands(front.databases), str(shop.provider_id)
    commands.json("providers", "update", provider, SLUICE_PROVIDER_API_KEY="a-wrong-key")
    payment = api.deposit().json()
    engine.call()
    assert api.read(payment["id"])["pending_reason"] == REASON
    filters = ("--filter", "kind=provider_call", "--filter", f"provider={provider}")
    # Still wrong: the same dead letter is open again.
    commands.text("dead-letters", "redrive", *filters, "--yes")
    assert api.read(payment["id"])["pending_reason"] is None
    engine.call()
    assert api.read(payment["id"])["pending_reason"] == REASON
    commands.json("providers", "update", provider, SLUICE_PROVIDER_API_KEY=shop.provider_api_key)
    commands.text("dead-letters", "redrive", *filters, "--yes")
    engine.call()
    after = api.read(payment["id"])
    assert (after["status"], after["pending_reason"]) == ("processing", None)
    assert after["redirect_url"]
    shop.deliver(shop.body(shop.payment(uuid.UUID(payment["id"]))))
    engine.settle()
    assert api.read(payment["id"])["status"] == "completed"


def test_a_caller_that_waits_is_answered_when_waiting_is_of_no_use(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    front.sandbox.script(match={"metadata": {"case": "refused"}}, create={"status": 401})
    answers: list[tuple[Any, float]] = []

    def ask() -> None:
        began = time.monotonic()
        answer = api.deposit(headers={"Prefer": "wait=10"}, metadata={"case": "refused"})
        answers.append((answer, time.monotonic() - began))

    asking = threading.Thread(target=ask)
    asking.start()
    while not engine.databases.value(
        "select count(*) from dead_letters where tenant_id = :id and kind = 'provider_call'", id=shop.tenant_id
    ):
        engine.call()
    asking.join()
    ((answer, seconds),) = answers
    assert (answer.status_code, answer.json()["status"], answer.json()["pending_reason"]) == (202, "pending", REASON)
    assert seconds < 8


def test_an_ended_payment_has_no_such_reason(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = api.deposit().json()
    refuse(front, engine, payment)
    assert api.read(payment["id"])["pending_reason"] == REASON
    assert api.post(f"/api/payments/{payment['id']}/cancel").json()["pending_reason"] is None
    assert api.read(payment["id"])["pending_reason"] is None
