"""The end of an outage: the next call follows within thirty seconds, at once where a fact shows the return."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from app.cli.commands.operations.reconcile import EXIT_NOT_COMPARED
from app.services.payments.calls import breaker
from testbed.stack import Stack
from tests.integration.provider_calls.broken_providers import BrokenProvider
from tests.support.commands import Commands
from tests.support.engine import Engine, call_and_settle, claim_call


@pytest.fixture
def broken(front: Stack, engine: Engine) -> Iterator[BrokenProvider]:
    """Provide a tenant of its own, whose provider breaks down when the test says so."""
    made = BrokenProvider(engine, front.make_shop())
    yield made
    made.clean_up()


def test_a_verified_webhook_ends_the_pause(front: Stack, engine: Engine, broken: BrokenProvider) -> None:
    payments = broken.break_down()
    broken.point_to(front.sandbox.url)
    engine.call()
    assert broken.state() is not None
    broken.shop.deliver(broken.shop.body(payments[0]))
    engine.settle()
    engine.call()
    assert broken.state() is None
    statuses = [str(broken.shop.payment(payment.id).status) for payment in payments]
    assert statuses == ["completed"] + ["processing"] * 7


def reconcile(front: Stack, provider_id: uuid.UUID) -> int:
    """Reconcile the provider by the command, which acts as an operator's roles; return its exit code."""
    done = Commands(front.databases).run("reconcile", "--provider", str(provider_id), "--from", "2026-01-01T00:00:00Z")
    return done.exit_code


def test_a_list_that_reconciliation_has_read_ends_the_pause_of_its_provider(
    front: Stack, engine: Engine, broken: BrokenProvider
) -> None:
    payments = broken.break_down()
    assert reconcile(front, broken.shop.provider_id) == EXIT_NOT_COMPARED
    assert reconcile(front, front.make_shop().provider_id) == 0
    engine.call()
    assert {str(broken.shop.payment(payment.id).status) for payment in payments} == {"pending"}
    broken.point_to(front.sandbox.url)
    assert reconcile(front, broken.shop.provider_id) == 0
    found = broken.state()
    assert found is not None
    # Half-open: reading a list is not taking a payment, which the probe tries.
    assert (found["opens"], found["is_paused"]) == (1, False)
    engine.call()
    assert broken.state() is None
    assert {str(broken.shop.payment(payment.id).status) for payment in payments} == {"processing"}


def test_a_list_that_was_asked_for_before_the_pause_does_not_end_it(engine: Engine, broken: BrokenProvider) -> None:
    broken.break_down()
    breaker.note_listed(engine.runtime, broken.shop.tenant_id, broken.shop.provider_id, seconds=60.0)
    found = broken.state()
    assert found is not None
    assert found["is_paused"]


@pytest.mark.parametrize("webhook", ["from before the pause", "of another provider"])
def test_other_webhooks_end_no_pause(front: Stack, engine: Engine, broken: BrokenProvider, webhook: str) -> None:
    other = front.make_shop()
    theirs = engine.start(other)
    early = broken.shop.deposit()
    if webhook == "from before the pause":
        broken.shop.deliver(broken.shop.body(early))
    broken.break_down()
    if webhook == "of another provider":
        other.deliver(other.body(theirs))
    engine.settle()
    found = broken.state()
    assert found is not None
    assert found["is_paused"]


def test_webhooks_of_a_provider_that_does_not_answer_let_single_calls_out(
    engine: Engine, broken: BrokenProvider
) -> None:
    payments = broken.break_down()
    opens = []
    for payment in payments[:3]:
        broken.shop.deliver(broken.shop.body(payment))
        engine.settle()
        engine.call()
        found = broken.state()
        assert found is not None
        assert found["is_paused"]
        opens.append(found["opens"])
    # The first webhook let a probe out; the second came too soon after it.
    assert opens == [2, 2, 2]
    broken.age_pause(breaker.WEBHOOK_PAUSE_SECONDS_MIN + 1)
    broken.shop.deliver(broken.shop.body(payments[4]))
    engine.settle()
    engine.call()
    found = broken.state()
    assert found is not None
    assert (found["opens"], found["failures"]) == (3, 7)


def test_a_good_answer_to_a_call_from_before_the_pause_ends_it(
    front: Stack, engine: Engine, broken: BrokenProvider
) -> None:
    broken.shop.deposit()
    under_way = claim_call(engine.runtime)
    assert under_way is not None
    broken.break_down()
    assert broken.state() is not None
    call_and_settle(engine.runtime, under_way)
    assert broken.state() is None
    assert str(broken.shop.payment(under_way.payment_id).status) == "processing"


def test_after_the_return_what_waits_for_a_retry_is_due_at_once(
    front: Stack, engine: Engine, broken: BrokenProvider
) -> None:
    payments = broken.break_down()
    # As after an outage of minutes: the backoff of those that failed has grown to ten minutes.
    engine.databases.rows(
        "update payment_work set attempts = 10, due_at = now() + interval '10 minutes' where provider_id = :id",
        id=broken.shop.provider_id,
    )
    broken.point_to(front.sandbox.url)
    fresh = broken.shop.deposit()
    engine.databases.rows(
        "update provider_breakers set paused_until = now() where provider_id = :id", id=broken.shop.provider_id
    )
    engine.call()
    assert {str(broken.shop.payment(payment.id).status) for payment in (*payments, fresh)} == {"processing"}


def test_a_single_payment_is_tried_within_thirty_seconds_however_long_the_outage(
    engine: Engine, broken: BrokenProvider
) -> None:
    broken.break_down(1)
    while not broken.state() or not broken.state()["opens"]:  # type: ignore[index]
        engine.databases.rows(
            "update payment_work set due_at = now() where provider_id = :id", id=broken.shop.provider_id
        )
        engine.call()
    for _ in range(40):
        broken.end_pause()
        engine.call()
        (row,) = broken.work()
        found = broken.state()
        assert found is not None
        # The sweep finds it two seconds later at the latest.
        assert 0 < found["seconds"] < row["seconds"] <= 26
    # An outage of some ten minutes has not used the payment's attempts up.
    assert row["attempts"] < 12
    assert engine.dead_letters(row["payment_id"]) == []


def test_the_call_that_failed_as_the_probe_is_not_the_next_probe(engine: Engine, broken: BrokenProvider) -> None:
    broken.break_down()
    probes = set()
    for _ in range(4):
        broken.end_pause()
        before = {row["payment_id"]: row["attempts"] for row in broken.work()}
        first = broken.work()[0]["payment_id"]
        engine.call()
        after = {row["payment_id"]: row["seconds"] for row in broken.work()}
        assert set(after) == set(before)
        # It is due again after those that were postponed until the end of the pause.
        assert max(after, key=lambda payment_id: after[payment_id]) == first
        probes.add(first)
    assert probes


def test_a_call_under_way_when_its_payments_time_is_up_ends_it_in_an_outage(
    engine: Engine, broken: BrokenProvider
) -> None:
    (payment, *_) = broken.break_down()
    engine.expire(payment.id)
    engine.databases.rows(
        "delete from payment_work where provider_id = :provider_id and payment_id <> :id",
        provider_id=broken.shop.provider_id,
        id=payment.id,
    )
    engine.databases.rows("update payment_work set attempts = 0 where payment_id = :id", id=payment.id)
    engine.databases.rows(
        "update provider_breakers set paused_until = now() where provider_id = :id", id=broken.shop.provider_id
    )
    engine.call()
    after = broken.shop.payment(payment.id)
    assert (after.status, after.failure_reason) == ("cancelled", "expired")
