"""Payments whose payer approves first: captured once, not after their end, and never let go (CONTRACT section 9)."""

from __future__ import annotations

import datetime

import pytest

from app.services.operators import redrive
from app.services.payments.calls import breaker, set_aside
from app.services.payments.calls.provider_claims import claim_calls
from app.services.queues.dispatcher import UnderWay
from testbed.shop import ACTOR
from tests.integration.captures.approving_provider import (
    APPROVED,
    AWAY,
    CAPTURED,
    NO_OUTCOME,
    REFUSED,
    ApprovingProvider,
)
from tests.integration.provider_calls.odd_provider import ATTEMPTS, encode_json
from tests.support.clients.api import Api, problem_of
from tests.support.engine import call_and_settle, claim_call

HOUR = datetime.timedelta(hours=1)


def test_what_the_payer_approves_is_captured(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    kept = provider.row(payment)
    assert (kept["action"], kept["approvals"], kept["capture_sent_at"]) == ("advance", 1, None)
    provider.odd.engine.call()
    assert provider.captures == [(f"{payment.id}:capture:1", b"{}")]
    provider.assert_credited_once(payment)


def test_an_approval_that_a_poll_reports_is_captured(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(APPROVED, CAPTURED)
    # The poll is the last one, at the payment's expiry: the approval is in time all the same.
    provider.odd.engine.expire(payment.id)
    provider.odd.engine.call()
    provider.odd.engine.call()
    assert len(provider.captures) == 1
    provider.assert_credited_once(payment)


def test_a_payment_that_has_ended_is_not_captured(provider: ApprovingProvider, buyer: Api) -> None:
    payment = provider.odd.start(status="cancelled")
    assert buyer.post(f"/api/payments/{payment.id}/cancel").status_code == 200
    provider.odd.engine.call()
    provider.approve(payment)
    provider.odd.call_again(payment)
    assert provider.captures == []
    assert provider.shop.payment(payment.id).status == "cancelled"
    assert provider.odd.engine.entries(payment.id) == []


def test_a_cancel_before_the_capture_is_sent_stops_it(provider: ApprovingProvider, buyer: Api) -> None:
    payment = provider.odd.start(status="cancelled")
    provider.approve(payment)
    assert buyer.post(f"/api/payments/{payment.id}/cancel").json()["status"] == "cancelled"
    provider.odd.engine.call()
    assert provider.captures == []


def test_from_the_claim_on_a_cancel_is_refused(provider: ApprovingProvider, buyer: Api) -> None:
    payment = provider.odd.start()
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    claim = claim_call(provider.shop.runtime)
    assert claim is not None
    # Nothing is sent yet, and the process may die now: what is kept says that it may have been.
    assert (provider.captures, provider.row(payment)["capture_sent_at"] is None) == ([], False)
    refused = problem_of(buyer.post(f"/api/payments/{payment.id}/cancel"), 409)
    assert refused["code"] == "capture_in_flight"
    call_and_settle(provider.shop.runtime, claim)
    provider.assert_credited_once(payment)
    ended = problem_of(buyer.post(f"/api/payments/{payment.id}/cancel"), 409)
    assert ended["code"] == "payment_ended"


def test_a_payment_that_is_being_cancelled_is_not_captured(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.approve(payment)
    engine, runtime = provider.odd.engine, provider.shop.runtime
    with runtime.database.transaction("web", provider.shop.tenant_id) as connection:
        connection.exec_driver_sql(
            f"select from payment_transactions where id = '{payment.id}' for no key update"  # a UUID
        )
        claims = claim_calls(runtime, 1, UnderWay(16))
        assert claims.calls == []
        assert [type(error) for _, error in claims.unready] == [set_aside.PaymentLocked]
    for call, error in claims.unready:
        set_aside.set_aside(runtime, call, error)
    assert (provider.captures, provider.row(payment)["capture_sent_at"]) == ([], None)
    provider.odd.answer(CAPTURED)
    engine.ask(payment.id)
    provider.assert_credited_once(payment)


def test_a_worker_that_dies_after_its_claim_leaves_a_capture_that_is_sent_again(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    assert claim_call(provider.shop.runtime) is not None
    before = provider.row(payment)["capture_sent_at"]
    provider.odd.engine.expire(payment.id)
    provider.odd.engine.call()
    assert provider.row(payment)["capture_sent_at"] == before
    provider.assert_credited_once(payment)


@pytest.mark.parametrize("answer", [AWAY, NO_OUTCOME, encode_json(404)], ids=["away", "no outcome", "refuses us"])
def test_an_unknown_capture_is_asked_for_again_and_never_let_go(
    provider: ApprovingProvider, buyer: Api, answer: bytes
) -> None:
    payment = provider.odd.start()
    provider.odd.answer(answer)
    provider.approve(payment)
    provider.odd.engine.call()
    provider.odd.engine.expire(payment.id)
    for _ in range(ATTEMPTS):
        if not (letters := provider.odd.engine.dead_letters(payment.id)):
            provider.odd.call_again(payment)
    assert len(set(provider.captures)) == 1
    assert provider.shop.payment(payment.id).status == "processing"
    assert problem_of(buyer.post(f"/api/payments/{payment.id}/cancel"), 409)["code"] == "capture_in_flight"
    # A dead letter is for a person; meanwhile it is looked up and asked for again.
    assert provider.row(payment)["wait"] < HOUR
    provider.odd.answer(APPROVED, CAPTURED)
    provider.odd.call_again(payment)
    provider.odd.engine.call()
    assert len(set(provider.captures)) == 1
    provider.assert_credited_once(payment)
    assert provider.odd.engine.dead_letters(payment.id) == [(letters[0][0], "superseded")]


def test_a_paused_providers_captures_do_not_expire(provider: ApprovingProvider) -> None:
    payment, approved = provider.odd.start(), provider.odd.start()
    provider.odd.answer(AWAY)
    provider.approve(payment)
    provider.odd.engine.call()
    provider.approve(approved)
    for one in (payment, approved):
        provider.odd.engine.expire(one.id)
    query = "update provider_breakers set paused_until = now() + interval '1 hour', opens = 1 where provider_id = :id"
    provider.odd.engine.databases.rows(query, id=provider.shop.provider_id)
    breaker.postpone_calls(provider.shop.runtime)
    assert {provider.shop.payment(one.id).status for one in (payment, approved)} == {"processing"}


def test_a_refused_capture_lets_the_payer_approve_again(provider: ApprovingProvider, buyer: Api) -> None:
    payment = provider.odd.start()
    provider.odd.answer(REFUSED)
    provider.approve(payment)
    provider.odd.engine.call()
    shown = buyer.read(payment.id)
    assert (shown["status"], shown["last_attempt_error"]) == ("processing", "No cover.")
    assert provider.row(payment)["action"] == "poll"
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    provider.odd.engine.call()
    assert [key for key, _ in provider.captures] == [f"{payment.id}:capture:1", f"{payment.id}:capture:2"]
    provider.assert_credited_once(payment)


def test_a_payment_whose_capture_was_refused_can_be_cancelled(provider: ApprovingProvider, buyer: Api) -> None:
    payment = provider.odd.start()
    provider.odd.answer(REFUSED)
    provider.approve(payment)
    provider.odd.engine.call()
    assert buyer.post(f"/api/payments/{payment.id}/cancel").json()["status"] == "cancelled"


def test_past_the_life_of_its_key_a_capture_is_looked_up_first(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(AWAY)
    provider.approve(payment)
    provider.odd.engine.call()
    old = "update payment_transactions set capture_sent_at = now() - interval '2 days' where id = :id"
    provider.odd.engine.databases.rows(old, id=payment.id)
    provider.odd.answer(encode_json(200, reference="ref_1", status="paid", currency="USD", received_amount="25.00"))
    provider.odd.call_again(payment)
    assert len(provider.captures) == 1
    provider.assert_credited_once(payment)


def test_the_capture_webhook_before_our_calls_answer_is_one_credit(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    claim = claim_call(provider.shop.runtime)
    assert claim is not None
    provider.pay(payment)
    call_and_settle(provider.shop.runtime, claim)
    provider.approve(payment)
    provider.assert_credited_once(payment)


def test_captures_are_made_before_polls_that_are_due_longer(provider: ApprovingProvider) -> None:
    polled, payment = provider.odd.start(), provider.odd.start()
    provider.approve(payment)
    provider.odd.engine.make_due(polled.id)
    old = "update payment_work set due_at = now() - interval '1 hour' where payment_id = :id"
    provider.odd.engine.databases.rows(old, id=polled.id)
    claim = claim_call(provider.shop.runtime)
    assert claim is not None
    assert (claim.action, claim.payment_id) == ("advance", payment.id)


def test_an_operator_sends_a_capture_again(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(encode_json(401))
    provider.approve(payment)
    provider.odd.engine.call()
    (row,) = provider.odd.engine.databases.rows("select id from dead_letters where payment_id = :id", id=payment.id)
    effect = redrive.redrive(provider.shop.runtime, provider.shop.tenant_id, row["id"], ACTOR)
    assert effect.effect == "asks the provider: advance"
    provider.odd.answer(CAPTURED)
    provider.odd.engine.call()
    provider.assert_credited_once(payment)
