"""An alarm is open while what raised it is so: raised once, resolved by the rows that end it, and then raised anew."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.facts import DisputeState, Fact, FactKind, Input
from app.core.payment import Payment
from app.services.operators import reconciliation, redrive, resolve
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.calls import breaker, provider_trouble
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from app.services.upkeep import alert_resolution, backlog
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.debits.debit_requests import credit, give_back, take
from tests.integration.refunds.refund_requests import pay
from tests.support.books import name_reference
from tests.support.clients.api import Api
from tests.support.commands import Commands
from tests.support.engine import Engine


def alarms(engine: Engine, shop: Shop, kind: str) -> list[tuple[bool, int, str | None]]:
    """Return the shop's alarms of a kind, the oldest first: whether each is open, how often it was raised, its end."""
    alert_resolution.resolve_ended(engine.runtime)
    query = "select resolved_at is null as is_open, occurrences, resolved_by from alerts"
    rows = engine.databases.rows(
        f"{query} where tenant_id = :id and kind = :kind order by at", id=shop.tenant_id, kind=kind
    )
    return [(row["is_open"], row["occurrences"], row["resolved_by"]) for row in rows]


def settle(shop: Shop, payment: Payment, given: Input) -> None:
    with settlement.open(shop.runtime, "worker") as batch:
        batch.settle([Item(shop.tenant_id, payment.id, given, "system")])


def take_back(engine: Engine, shop: Shop, payment: Payment) -> None:
    """Let the provider take all of a payment back."""
    shop.deliver_refund(shop.payment(payment.id), provider_reference=name_reference(payment))
    engine.settle()


def dispute(shop: Shop, payment: Payment, state: DisputeState) -> None:
    settle(shop, payment, Fact(FactKind.DISPUTE, name_reference(payment), dispute_id="dp 1", dispute_state=state))


def test_a_wallet_below_zero_is_one_alarm_until_a_deposit_sets_it_right(engine: Engine, shop: Shop) -> None:
    first, second = credit(engine, shop), credit(engine, shop, amount="10.00")
    take(shop, "30.00")
    take_back(engine, shop, first)
    take_back(engine, shop, second)
    assert alarms(engine, shop, "wallet_negative") == [(True, 2, None)]
    third = credit(engine, shop, amount="50.00")
    credit(engine, shop, amount="35.00")
    ended = f"deposit of payment {third.id}"
    assert alarms(engine, shop, "wallet_negative") == [(False, 2, ended)]
    set_right = "select min(e.at) from wallet_transactions e where payment_id = :id"
    resolved = "select resolved_at from alerts where tenant_id = :id and kind = 'wallet_negative'"
    assert engine.databases.value(resolved, id=shop.tenant_id) == engine.databases.value(set_right, id=third.id)
    # Below zero again: another alarm, and another end.
    made = take(shop, "50.00")
    take_back(engine, shop, third)
    assert alarms(engine, shop, "wallet_negative") == [(False, 2, ended), (True, 1, None)]
    give_back(shop, made)
    assert alarms(engine, shop, "wallet_negative")[1] == (False, 1, f"debit reversal of debit {made.debit['id']}")


@pytest.mark.parametrize(("act", "state"), [(resolve.accept, "accepted"), (resolve.reject, "rejected")])
def test_a_case_is_an_alarm_until_a_person_has_decided(engine: Engine, shop: Shop, act: Any, state: str) -> None:
    payment = shop.deposit()
    settle(shop, payment, Fact(FactKind.SUCCEEDED, "A", amount_minor=100, currency="USD"))
    assert alarms(engine, shop, "payment_underpaid") == [(True, 1, None)]
    act(shop.runtime, shop.tenant_id, letter(engine, payment), ACTOR)
    assert alarms(engine, shop, "payment_underpaid") == [(False, 1, f"{state} by {ACTOR}")]


def letter(engine: Engine, payment: Payment) -> uuid.UUID:
    """Return the id of the payment's open dead letter."""
    found: uuid.UUID = engine.databases.value(
        "select id from dead_letters where payment_id = :id and state = 'open'", id=payment.id
    )
    return found


def test_a_case_that_money_settles_ends_its_alarm(engine: Engine, shop: Shop) -> None:
    payment = shop.deposit()
    settle(shop, payment, Fact(FactKind.SUCCEEDED, "A", amount_minor=100, currency="USD"))
    settle(shop, payment, Fact(FactKind.SUCCEEDED, "A", amount_minor=2500, currency="USD"))
    assert alarms(engine, shop, "payment_underpaid") == [(False, 1, "superseded by system")]


def test_what_reports_no_more_than_an_event_is_never_open(engine: Engine, shop: Shop) -> None:
    payment = credit(engine, shop)
    take_back(engine, shop, payment)
    settle(shop, payment, Fact(FactKind.DECLINED, name_reference(payment)))
    for kind in ("payment_reversed", "payment_conflict"):
        (row,) = Commands(engine.databases).json("alerts", "list", "--kind", kind, "--tenant", str(shop.tenant_id))[
            "data"
        ]
        assert (row["state"], row["resolved_at"]) == ("event", None)


@pytest.mark.parametrize("state", ["won", "lost"])
def test_a_dispute_is_an_alarm_until_it_is_won_or_lost(engine: Engine, shop: Shop, state: DisputeState) -> None:
    payment = credit(engine, shop)
    dispute(shop, payment, "opened")
    assert alarms(engine, shop, "payment_disputed") == [(True, 1, None)]
    dispute(shop, payment, state)
    assert alarms(engine, shop, "payment_disputed") == [(False, 1, f"the dispute is {state}")]


def test_a_webhook_that_cannot_be_used_is_an_alarm_until_it_is_closed(engine: Engine, shop: Shop) -> None:
    payment = shop.deposit()
    shop.deliver(shop.body(payment, event_type="payment.failed"))
    engine.settle()
    # Redriven, it fails again: still one alarm, and one dead letter more.
    redrive.redrive(shop.runtime, shop.tenant_id, letter(engine, payment), ACTOR)
    engine.settle()
    assert alarms(engine, shop, "webhook_dead_letter") == [(True, 2, None)]
    resolve.reject(shop.runtime, shop.tenant_id, letter(engine, payment), ACTOR)
    assert alarms(engine, shop, "webhook_dead_letter") == [(False, 2, f"rejected by {ACTOR}")]


def test_a_call_that_is_given_up_is_an_alarm_until_it_is_closed(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, create={"status": 401})
    engine.call()
    assert alarms(engine, shop, "provider_refused_us") == [(True, 1, None)]
    redrive.redrive(shop.runtime, shop.tenant_id, letter(engine, payment), ACTOR)
    assert alarms(engine, shop, "provider_refused_us") == [(False, 1, f"redriven by {ACTOR}")]


def test_a_difference_is_an_alarm_until_a_list_agrees(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
    period = (now - hour, now + hour, ACTOR)
    engine.databases.rows("update payment_transactions set received_minor = 2400 where id = :id", id=payment.id)
    (found,) = reconciliation.reconcile(shop.runtime, shop.provider_id, *period).differences
    assert alarms(engine, shop, "reconciliation_difference") == [(True, 1, None)], found
    engine.databases.rows("update payment_transactions set received_minor = 2500 where id = :id", id=payment.id)
    assert reconciliation.reconcile(shop.runtime, shop.provider_id, *period).differences == []
    assert alarms(engine, shop, "reconciliation_difference") == [(False, 1, "superseded by system")]


def test_a_paused_provider_is_an_alarm_until_it_answers(engine: Engine, shop: Shop) -> None:
    about = (engine.runtime, shop.tenant_id, shop.provider_id)
    for _ in range(breaker.FAILURES_MAX):
        breaker.note_failure(*about, OutcomeUnknown("it hangs"), False)
    assert alarms(engine, shop, "provider_breaker_open") == [(True, 1, None)]
    breaker.note_answer(engine.runtime, shop.provider_id)
    assert alarms(engine, shop, "provider_breaker_open") == [(False, 1, "the provider answers")]


def test_what_has_no_end_of_its_own_is_over_when_it_was_not_met_for_long(engine: Engine, shop: Shop) -> None:
    for field in ("status", "reference", "status"):
        breaker.note_failure(engine.runtime, shop.tenant_id, shop.provider_id, UnexpectedAnswer("odd", field), False)
    assert sorted(alarms(engine, shop, "provider_answer_unexpected")) == [(True, 1, None), (True, 2, None)]
    ago = "update alerts set last_at = now() - interval '25 hours' where tenant_id = :id and occurrences = 1"
    engine.databases.rows(ago, id=shop.tenant_id)
    assert sorted(alarms(engine, shop, "provider_answer_unexpected")) == [
        (False, 1, "it was not met again"),
        (True, 2, None),
    ]


def test_those_that_know_all_that_holds_end_the_others(engine: Engine, shop: Shop) -> None:
    provider_trouble.note(engine.runtime, shop.provider_id, "it has no key")
    for _ in range(2):
        provider_trouble.raise_alarms(engine.runtime)
    assert alarms(engine, shop, "provider_unusable") == [(True, 1, None)]
    engine.databases.rows(
        "update provider_troubles set at = now() - interval '1 hour' where provider_id = :id", id=shop.provider_id
    )
    provider_trouble.raise_alarms(engine.runtime)
    assert alarms(engine, shop, "provider_unusable") == [(False, 1, "no process reports it any more")]


def test_a_provider_beyond_those_that_are_listed_keeps_its_alarm(engine: Engine, shop: Shop) -> None:
    provider_trouble.note(engine.runtime, shop.provider_id, "it has no key")
    # Their ids come first, and they fill the list.
    engine.databases.rows(
        "insert into payment_providers (id, tenant_id, name, adapter, api_base_url, credentials_encrypted)"
        " select cast('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0') as uuid), tenant_id, 'other ' || n,"
        " adapter, api_base_url, credentials_encrypted"
        " from payment_providers cross join generate_series(1, :count) as n where id = :id",
        id=shop.provider_id,
        count=provider_trouble.WATCHED_MAX,
    )
    engine.databases.rows(
        "insert into provider_troubles (provider_id, tenant_id, problem)"
        " select id, tenant_id, 'it has none either' from payment_providers where tenant_id = :tenant and id <> :id",
        tenant=shop.tenant_id,
        id=shop.provider_id,
    )
    provider_trouble.raise_alarms(engine.runtime)
    are_open = "select count(*), bool_or(subject = :id) as is_ours from alerts where tenant_id = :tenant"
    are_open += " and kind = 'provider_unusable' and resolved_at is null"
    about = {"tenant": shop.tenant_id, "id": str(shop.provider_id)}
    total = provider_trouble.WATCHED_MAX + 1
    assert engine.databases.rows(are_open, **about) == [{"count": total, "is_ours": True}]
    ended = "update provider_troubles set at = now() - interval '1 hour' where tenant_id = :id and provider_id <> :ours"
    engine.databases.rows(ended, id=shop.tenant_id, ours=shop.provider_id)
    provider_trouble.raise_alarms(engine.runtime)
    assert engine.databases.rows(are_open, **about) == [{"count": 1, "is_ours": True}]


def test_work_that_is_overdue_is_an_alarm_until_it_is_done(engine: Engine, shop: Shop) -> None:
    shop.deliver(shop.body(shop.deposit()))
    overdue = (
        "select resolved_by from alerts where kind = 'work_overdue' and subject = 'settle' order by at desc limit 1"
    )
    engine.databases.rows(
        "update webhook_work set due_at = now() - interval '1 minute' where tenant_id = :id", id=shop.tenant_id
    )
    for _ in range(2):
        backlog.raise_overdue(engine.runtime)
    assert engine.databases.value(overdue) is None
    engine.settle()
    backlog.raise_overdue(engine.runtime)
    assert engine.databases.value(overdue) == "the work is being done"


def test_an_alarm_that_is_raised_while_it_is_examined_stays_open(engine: Engine, shop: Shop) -> None:
    row = AlertRow("provider_breaker_open", shop.tenant_id, {}, str(shop.provider_id))
    with engine.runtime.database.transaction("worker") as connection:
        alerts.write(connection, [row])
    with engine.runtime.database.transaction("worker") as connection:
        alerts.write(connection, [row, row])
        # Sends what is buffered.
        connection.execute(select(1))
        # No row says that the provider is paused, but whoever raises the alarm has it locked and may write one.
        assert alarms(engine, shop, "provider_breaker_open") == [(True, 1, None)]
    assert engine.databases.value("select occurrences from alerts where tenant_id = :id", id=shop.tenant_id) == 3
    assert alarms(engine, shop, "provider_breaker_open") == [(False, 3, "the provider answers")]


def test_the_command_lists_what_is_open(engine: Engine, shop: Shop) -> None:
    commands, tenant = Commands(engine.databases), ("--tenant", str(shop.tenant_id))
    assert commands.text("alerts", "list", "--open", *tenant) == "No alarms are open.\n"
    first, second = shop.deposit(), shop.deposit()
    for payment in (first, second):
        settle(shop, payment, Fact(FactKind.SUCCEEDED, "A", amount_minor=100, currency="USD"))
    resolve.reject(shop.runtime, shop.tenant_id, letter(engine, first), ACTOR)
    alert_resolution.resolve_ended(engine.runtime)
    (row,) = commands.json("alerts", "list", "--open", *tenant)["data"]
    assert (row["state"], row["detail"]["payment_id"]) == ("open", str(second.id))
    assert [one["state"] for one in commands.json("alerts", "list", *tenant)["data"]] == ["open", "resolved"]
    assert f"rejected by {ACTOR}" in commands.text("alerts", "list", *tenant)


def test_every_kind_that_has_a_subject_has_an_end(engine: Engine, shop: Shop) -> None:
    """A kind that is neither an event nor kept by its raisers is found over by a statement, or opens a case."""
    assert set(alert_resolution.ENDS) <= set(alerts.KINDS)
    assert not set(alert_resolution.ENDS) & set(alert_resolution.KEPT)
    # A row of each kind about nothing: every statement runs, and none takes a text for an id that is none.
    about = f"{uuid.uuid4()} one:two three"
    ids = ("webhook_dead_letter", "provider_breaker_open", "endpoint_disabled", "endpoint_unusable")
    subjects = {**dict.fromkeys(ids, about[:36]), "wallet_negative": "USD a b"}
    with engine.runtime.database.transaction("worker") as connection:
        rows = [AlertRow(kind, shop.tenant_id, {}, subjects.get(kind, about)) for kind in alerts.KINDS]
        alerts.write(connection, rows)
    alert_resolution.resolve_ended(engine.runtime)
    query = "select kind from alerts where tenant_id = :id and resolved_at is not null"
    assert engine.databases.rows(query, id=shop.tenant_id) == [{"kind": "provider_breaker_open"}]


def test_a_disabled_endpoint_is_an_alarm_until_it_is_enabled(engine: Engine, shop: Shop, api: Api) -> None:
    made = api.post("/api/webhook-endpoints", {"url": "https://shop.example/hooks"}).json()
    change = "update webhook_endpoints set disabled_at = {}, disabled_reason = {} where id = :id"
    engine.databases.rows(change.format("now()", "'gone'"), id=uuid.UUID(made["id"]))
    with engine.runtime.database.transaction("deliver") as connection:
        alerts.write(connection, [AlertRow("endpoint_disabled", shop.tenant_id, {}, made["id"])] * 2)
    assert alarms(engine, shop, "endpoint_disabled") == [(True, 2, None)]
    engine.databases.rows(change.format("null", "null"), id=uuid.UUID(made["id"]))
    assert alarms(engine, shop, "endpoint_disabled") == [(False, 2, "the endpoint is enabled")]
