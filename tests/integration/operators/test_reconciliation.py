"""A period is compared with the sandbox's own list: each difference is one case, and only open payments move."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import uuid
from typing import Any

import requests

from app.core.payment import Payment
from app.services.operators import reconciliation
from app.services.operators.reconciliation import ReconciliationReport
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.commands import Commands
from tests.support.engine import Engine
from tests.support.mollie_provider import make_mollie

HOUR = datetime.timedelta(hours=1)


def run(shop: Shop) -> ReconciliationReport:
    now = datetime.datetime.now(datetime.UTC)
    return reconciliation.reconcile(shop.runtime, shop.provider_id, now - HOUR, now + HOUR, ACTOR)


def reasons(report: ReconciliationReport) -> list[str]:
    return sorted(one.reason for one in report.differences)


def cases_of(engine: Engine, shop: Shop) -> list[tuple[str, str]]:
    rows = engine.databases.rows(
        "select reason, state from dead_letters where tenant_id = :id and kind = 'reconciliation' order by created_at",
        id=shop.tenant_id,
    )
    return [(row["reason"], row["state"]) for row in rows]


def silent(front: Stack, engine: Engine, shop: Shop, **sections: Any) -> Payment:
    """Make a payment whose webhooks are never sent."""
    payment = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []}, **sections)
    engine.call()
    return shop.payment(payment.id)


def test_what_agrees_is_no_difference(front: Stack, engine: Engine, shop: Shop) -> None:
    paid, unpaid, declined = (engine.start(shop) for _ in range(3))
    front.sandbox.act(str(paid.provider_reference), "pay")
    front.sandbox.act(str(declined.provider_reference), "decline")
    engine.run_until(lambda: shop.payment(paid.id).status == "completed", "the paid one is credited")
    engine.run_until(lambda: shop.payment(declined.id).status == "failed", "the declined one has failed")
    report = run(shop)
    assert (report.compared, report.settled, report.differences) == (3, 0, [])
    assert shop.payment(unpaid.id).status == "processing"


def test_an_open_payment_is_settled_by_the_list_as_by_a_poll(front: Stack, engine: Engine, shop: Shop) -> None:
    paid, declined, part = (silent(front, engine, shop) for _ in range(3))
    front.sandbox.act(str(paid.provider_reference), "pay")
    front.sandbox.act(str(declined.provider_reference), "decline")
    front.sandbox.act(str(part.provider_reference), "pay", amount="10.00")
    report = run(shop)
    assert (report.settled, report.differences) == (3, [])
    assert [shop.payment(one.id).status for one in (paid, declined, part)] == ["completed", "failed", "processing"]
    assert engine.entries(paid.id) == [("user", 2500), ("clearing", -2500)]
    assert engine.dead_letters(part.id) == [("underpaid", "open")]
    again = run(shop)
    assert (again.settled, again.differences) == (0, [])
    assert engine.entries(paid.id) == [("user", 2500), ("clearing", -2500)]


def test_money_for_an_ended_payment_is_a_case_whose_redrive_credits_it(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = silent(front, engine, shop)
    engine.expire(payment.id)
    engine.run_until(lambda: engine.action(payment.id) == "poll", "it has expired and its session is closed")
    front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    assert reasons(run(shop)) == ["state"]
    assert reasons(run(shop)) == ["state"]
    assert cases_of(engine, shop) == [("state", "open")]
    assert engine.entries(payment.id) == []
    commands = Commands(front.databases)
    (row,) = commands.json("dead-letters", "list", "--filter", f"payment={payment.id}")["data"]
    commands.json("dead-letters", "redrive", row["id"])
    engine.call()
    assert shop.payment(payment.id).status == "completed"
    assert cases_of(engine, shop) == [("state", "superseded")]
    assert run(shop).differences == []


def test_missing_here_and_missing_there(front: Stack, engine: Engine, shop: Shop) -> None:
    unknown = str(uuid.uuid4())
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"status": 404})
    order = {
        "amount": "5.00",
        "currency": "USD",
        "merchant_reference": unknown,
        "success_url": None,
        "failure_url": None,
        "callback_urls": {},
        "metadata": {},
        "expires_at": None,
    }
    create(front, shop, order)
    report = run(shop)
    assert reasons(report) == ["missing_here", "missing_there"]
    assert reasons(run(shop)) == ["missing_here", "missing_there"]
    assert sorted(cases_of(engine, shop)) == [("missing_here", "open"), ("missing_there", "open")]


def create(front: Stack, shop: Shop, order: dict[str, Any], key: str | None = None) -> str:
    """Make an order at the provider without us; return its reference there."""
    headers = {
        "Authorization": f"Bearer {shop.provider_api_key}",
        "Idempotency-Key": key or order["merchant_reference"],
        "Content-Type": "application/json",
    }
    body = json.dumps(order)
    answer = requests.post(f"{front.sandbox.url}/v1/payments", data=body, headers=headers, timeout=10)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["reference"])


def test_amounts_currencies_and_states_that_differ_move_no_money(front: Stack, engine: Engine, shop: Shop) -> None:
    shown = {
        "amount": {"received_amount": "24.00"},
        "currency": {"received_currency": "EUR"},
        "state": {"status": "declined"},
    }
    payments = {}
    for reason, fields in shown.items():
        payment = engine.start(shop)
        front.sandbox.act(str(payment.provider_reference), "pay")
        engine.run_until(lambda payment=payment: shop.payment(payment.id).status == "completed", "it is credited")  # type: ignore[misc]
        front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"show": fields})
        payments[reason] = payment
    report = run(shop)
    assert {one.reason: one.payment_id for one in report.differences} == {
        reason: payment.id for reason, payment in payments.items()
    }
    for payment in payments.values():
        assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


def test_a_refund_that_only_the_list_reports_is_booked(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = silent(front, engine, shop)
    front.sandbox.act(str(payment.provider_reference), "pay")
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "completed"
    front.sandbox.act(str(payment.provider_reference), "refund", amount="10.00")
    report = run(shop)
    assert (report.settled, report.differences) == (1, [])
    assert engine.entries(payment.id)[2:] == [("user", -1000), ("clearing", 1000)]
    # Its webhook, when it comes after all, says nothing new, nor does the list again.
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    assert (run(shop).settled, len(engine.entries(payment.id))) == (0, 4)


def test_a_smaller_total_than_is_booked_is_settled_by_a_lookup(front: Stack, engine: Engine, shop: Shop) -> None:
    """The provider's list and its answer show less than its webhook reported: the difference came again."""
    payment = silent(front, engine, shop, fetch={"show": {"refunded_amount": "5.00"}})
    front.sandbox.act(str(payment.provider_reference), "pay")
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "completed"
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    assert (run(shop).differences, shop.payment(payment.id).reversed_minor) == ([], 500)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"show": {"refunded_amount": "10.00"}})
    assert (run(shop).differences, shop.payment(payment.id).reversed_minor) == ([], 1000)
    assert [minor for kind, minor in engine.entries(payment.id) if kind == "user"] == [2500, -500, -500, 500, -500]
    assert cases_of(engine, shop) == []


def test_what_a_slow_list_lacks_is_missing_after_its_lag(front: Stack, engine: Engine, shop: Shop) -> None:
    adapters = shop.runtime.registry.adapters
    slow: Any = copy.copy(adapters["sandbox"])
    slow.capabilities = dataclasses.replace(slow.capabilities, list_lag_seconds=1_800)
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"status": 404})
    change = "update payment_transactions set updated_at = now() - make_interval(mins => :ago) where id = :id"
    normal = adapters["sandbox"]
    adapters["sandbox"] = slow
    try:
        engine.databases.rows(change, ago=20, id=payment.id)
        report = run(shop)
        assert (reasons(report), report.in_flight, cases_of(engine, shop)) == ([], 1, [])
        engine.databases.rows(change, ago=31, id=payment.id)
        assert reasons(run(shop)) == ["missing_there"]
    finally:
        adapters["sandbox"] = normal


def test_the_command_says_it_with_its_exit_code(front: Stack, engine: Engine, shop: Shop) -> None:
    commands = Commands(front.databases)
    words = ("reconcile", "--provider", str(shop.provider_id), "--from", "2026-01-01")
    assert commands.json(*words)["differences"] == []
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"status": 404})
    found = commands.run(*words, "--json")
    assert (found.exit_code, json.loads(found.stdout)["differences"][0]["reason"]) == (1, "missing_there")
    (case,) = commands.json("dead-letters", "list", "--filter", f"payment={payment.id}")["data"]
    commands.json("dead-letters", "reject", case["id"], "--yes")
    assert commands.json(*words)["differences"] == []
    commands.error(*words, "--to", "2025-01-01", code=2)
    front.databases.rows(
        "update payment_providers set api_base_url = 'http://127.0.0.1:9' where id = :id", id=shop.provider_id
    )
    commands.error(*words, code=3)


def test_single_movements_of_a_list_are_booked_once_and_their_sum_is_no_total(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    mollie = make_mollie(front, shop)
    payment = mollie.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    engine.call()
    front.sandbox.happen(payment.id, "pay")
    engine.ask(payment.id)
    now = datetime.datetime.now(datetime.UTC)
    for action, words, reversed_minor in (("refund", {"amount": "7.00"}, 700), ("dispute", {}, 2500)):
        front.sandbox.happen(payment.id, action, **words)
        for settled in (1, 0):
            report = reconciliation.reconcile(shop.runtime, mollie.id, now - HOUR, now + HOUR, ACTOR)
            assert (report.settled, report.differences) == (settled, [])
            assert shop.payment(payment.id).reversed_minor == reversed_minor
    assert engine.dead_letters(payment.id) == []
