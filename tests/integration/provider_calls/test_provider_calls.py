"""Calls to a provider that misbehaves: the same key and bytes each time, and never a failure out of doubt."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from app.core.payment import Payment
from app.services.payments.calls.call_dispatcher import call_due
from app.services.payments.calls.provider_claims import Claim
from testbed.shop import ORIGIN, Shop
from testbed.stack import Stack
from tests.support.engine import Engine, call_and_settle, claim_call


def scripted(front: Stack, shop: Shop, **sections: Any) -> Payment:
    """Make a deposit for which the sandbox has a script."""
    payment = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, **sections)
    return payment


def test_the_provider_returns_the_payer_with_the_payments_id(front: Stack, engine: Engine, shop: Shop) -> None:
    urls = {"success_url": f"{ORIGIN}/paid?basket=a%20b", "failure_url": f"{ORIGIN}/failed"}
    payment = shop.deposit(**urls)
    engine.call()
    (order,) = front.sandbox.truth(payment.id)["payments"]
    page = shop.payment(payment.id).redirect_url
    assert page is not None
    token = parse_qs(urlsplit(page).query)["token"][0]
    pressed = requests.post(f"{page.partition('?')[0]}/pay", data={"token": token}, allow_redirects=False, timeout=10)
    back = f"{ORIGIN}/paid?basket=a%20b&payment_id={payment.id}&reference={order['reference']}"
    assert pressed.headers["Location"] == back


def retry(engine: Engine, payment: Payment) -> None:
    """Make the next call now; a provider that was set aside for its failures is asked again at once."""
    engine.databases.rows("delete from provider_breakers")
    engine.ask(payment.id)


UNCERTAIN: dict[str, dict[str, Any]] = {
    "unreachable for a while": {"status": 503, "times": 2},
    "stored, then 500": {"status": 500, "effect": True, "times": 1},
    "stored, then half an answer": {"answer": "torn", "times": 1},
    "stored, then cut": {"answer": "timeout", "hold": 0.3, "times": 1},
    "nothing stored, then cut": {"answer": "timeout", "hold": 0.3, "effect": False, "times": 1},
    "a gateway's page": {"answer": "not_json", "times": 1},
    "a flood": {"answer": "oversized", "bytes": 3_000_000, "times": 1},
    "too many requests": {"status": 429, "times": 1},
    "a redirect": {"answer": "redirect", "location": "http://127.0.0.1:1/", "times": 1},
    "a redirect after it was stored": {"answer": "redirect", "effect": True, "times": 1},
}


@pytest.mark.parametrize("create", UNCERTAIN.values(), ids=UNCERTAIN)
def test_an_unknown_outcome_is_asked_again_with_the_same_key_and_bytes(
    front: Stack, engine: Engine, shop: Shop, create: dict[str, Any]
) -> None:
    payment = scripted(front, shop, create=create)
    engine.call()
    after = shop.payment(payment.id)
    assert (after.status, after.version) == ("pending", 1)
    for _ in range(create["times"]):
        retry(engine, payment)
    after = shop.payment(payment.id)
    assert (after.status, after.provider_reference is not None) == ("processing", True)
    truth = front.sandbox.truth(payment.id)
    assert len(truth["payments"]) == 1
    assert truth["payments"][0]["reference"] == after.provider_reference
    assert create_calls(truth) == (create["times"] + 1, 1, 1)
    front.sandbox.act(str(after.provider_reference), "pay")
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the money is credited")
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


def create_calls(truth: dict[str, Any]) -> tuple[int, int, int]:
    """Return (calls, distinct idempotency keys, distinct bodies) of the create calls for one payment."""
    (row,) = truth["create_calls"]
    return row["calls"], row["idempotency_keys"], row["bodies"]


def test_a_time_out_whose_money_was_captured_is_credited_by_the_webhook(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = scripted(
        front, shop, create={"answer": "timeout", "hold": 0.3, "times": 1}, auto={"action": "pay", "after": 0}
    )
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the webhook reports the money")
    done = shop.payment(payment.id)
    assert (done.provider_reference is not None, done.redirect_url) == (True, None)
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    assert engine.action(payment.id) is None


def test_a_webhook_before_the_answer_lets_the_answer_only_fill_in(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = scripted(front, shop, auto={"action": "pay"}, create={"after_webhook": True})
    call_and_settle(engine.runtime, claim_of(engine, payment))
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the webhook is settled")
    done = shop.payment(payment.id)
    assert done.redirect_url is not None
    assert done.exceptions == frozenset()
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_of_the_payment_fails_it(front: Stack, engine: Engine, shop: Shop, status: int) -> None:
    payment = scripted(front, shop, create={"status": status, "message": "no such method"})
    engine.call()
    failed = shop.payment(payment.id)
    assert (failed.status, failed.failure_reason) == ("failed", "no such method")
    hold = "select state from wallet_temp_logs where payment_id = :id"
    assert engine.databases.value(hold, id=payment.id) == "released"


@pytest.mark.parametrize("create", [{"status": 401}, {"status": 403}])
def test_a_refusal_of_us_is_a_dead_letter_and_an_alarm_not_a_failed_payment(
    front: Stack, engine: Engine, shop: Shop, create: dict[str, Any]
) -> None:
    payment = scripted(front, shop, create=create)
    engine.call()
    assert shop.payment(payment.id).status == "pending"
    assert engine.dead_letters(payment.id) == [("provider_refused_us", "open")]
    alarms = "select count(*) from alerts where tenant_id = :id and kind = 'provider_refused_us'"
    assert engine.databases.value(alarms, id=shop.tenant_id) == 1
    # It is asked about once more when its time is up.
    due = (
        "select w.due_at = p.expires_at from payment_work w"
        " join payment_transactions p on p.id = w.payment_id where p.id = :id"
    )
    assert engine.databases.value(due, id=payment.id) is True


def test_attempts_end_and_a_person_is_alarmed(front: Stack, engine: Engine, shop: Shop) -> None:
    engine.databases.rows("update payment_providers set attempts_max = 2 where id = :id", id=shop.provider_id)
    payment = scripted(front, shop, create={"status": 503})
    engine.call()
    assert engine.dead_letters(payment.id) == []
    retry(engine, payment)
    assert engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]
    assert shop.payment(payment.id).status == "pending"


def test_past_its_keys_life_a_payment_is_looked_up_before_it_is_created(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    stored = scripted(front, shop, create={"status": 500, "effect": True, "times": 1})
    missing = scripted(front, shop, create={"status": 500, "times": 1})
    engine.call()
    old = "update payment_transactions set provider_request_at = now() - interval '2 days' where id = :id"
    for payment in (stored, missing):
        engine.databases.rows(old, id=payment.id)
        retry(engine, payment)
        assert shop.payment(payment.id).provider_reference is not None
        assert len(front.sandbox.truth(payment.id)["payments"]) == 1
    assert create_calls(front.sandbox.truth(stored.id))[0] == 1
    assert create_calls(front.sandbox.truth(missing.id))[0] == 2


def test_a_worker_that_stood_still_during_its_call_does_no_harm(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = shop.deposit()
    first = claim_of(engine, payment)
    # Its lease runs out and another worker has the call: what the first one brings then is not written at all.
    engine.make_due(payment.id)
    second = claim_of(engine, payment)
    audited = "select count(*) from audit_logs where payment_id = :id"
    before = engine.databases.value(audited, id=payment.id)
    call_and_settle(engine.runtime, first)
    assert engine.databases.value(audited, id=payment.id) == before
    assert shop.payment(payment.id).status == "pending"
    call_and_settle(engine.runtime, second)
    done = shop.payment(payment.id)
    assert done.status == "processing"
    # Once the other is through with it, the late answer is a fact like any other, and one that is known.
    call_and_settle(engine.runtime, first)
    assert shop.payment(payment.id) == done
    assert len(front.sandbox.truth(payment.id)["payments"]) == 1


def claim_of(engine: Engine, payment: Payment) -> Claim:
    """Claim the payment's due call, which is the only one that is due."""
    claim = claim_call(engine.runtime)
    assert claim is not None
    assert claim.payment_id == payment.id
    return claim


def test_a_call_that_fails_after_its_payment_has_completed_is_no_dead_letter(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    engine.databases.rows("update payment_providers set attempts_max = 1 where id = :id", id=shop.provider_id)
    payment = scripted(front, shop, create={"status": 503})
    claim = claim_of(engine, payment)
    shop.deliver(shop.body(payment))
    engine.settle()
    assert shop.payment(payment.id).status == "completed"
    call_and_settle(engine.runtime, claim)
    assert engine.dead_letters(payment.id) == []
    assert engine.action(payment.id) is None


def test_a_claimed_call_is_nobody_elses(engine: Engine, shop: Shop) -> None:
    payment = shop.deposit()
    claim = claim_of(engine, payment)
    other = claim_call(engine.runtime)
    assert other is None or other.payment_id != payment.id
    call_due(engine.runtime)
    assert shop.payment(payment.id).status == "pending"
    call_and_settle(engine.runtime, claim)
    assert shop.payment(payment.id).status == "processing"


def test_one_provider_gets_no_more_calls_at_once_than_allowed(front: Stack, engine: Engine, shop: Shop) -> None:
    engine.databases.rows("update payment_providers set calls_max = 2 where id = :id", id=shop.provider_id)
    for _ in range(5):
        shop.deposit()
    other = front.make_shop()
    theirs = other.deposit()
    claims = [claim for claim in (claim_call(engine.runtime) for _ in range(10)) if claim]
    mine = [claim for claim in claims if claim.provider_id == shop.provider_id]
    assert len(mine) == 2
    assert theirs.id in {claim.payment_id for claim in claims}
    for claim in claims:
        call_and_settle(engine.runtime, claim)


def test_a_poll_learns_of_money_whose_webhook_never_came(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = scripted(front, shop, webhook={"send": []})
    engine.call()
    front.sandbox.act(str(shop.payment(payment.id).provider_reference), "pay")
    assert engine.action(payment.id) == "poll"
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "completed"
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
