"""A worker that dies at any commit of a capture leaves one capture and one credit in the end."""

from __future__ import annotations

import pytest

from tests.integration.captures.approving_provider import CAPTURED, ApprovingProvider
from tests.scenarios.crashing import When, die_in_call
from tests.support.clients.api import Api, problem_of


# The capture has two commits: the claim, which says that it may be sent, and the settlement of the answer.
@pytest.mark.parametrize(
    ("nth", "when", "sent", "cancel"),
    [
        (1, "after", 0, "capture_in_flight"),
        (2, "before", 1, "capture_in_flight"),
        (2, "after", 1, "payment_ended"),
    ],
)
def test_a_worker_dies_at_a_commit_of_the_capture(
    provider: ApprovingProvider, buyer: Api, nth: int, when: When, sent: int, cancel: str
) -> None:
    payment, engine = provider.odd.start(), provider.odd.engine
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    die_in_the_capture(provider, nth, when)
    assert len(provider.captures) == sent
    # Whether it was sent, nobody knows but the provider: it is not let go, by a cancel or at its expiry.
    assert problem_of(buyer.post(f"/api/payments/{payment.id}/cancel"), 409)["code"] == cancel
    if cancel == "capture_in_flight":
        engine.expire(payment.id)
        engine.ask(payment.id)
    assert set(provider.captures) == {(f"{payment.id}:capture:1", b"{}")}
    provider.assert_credited_once(payment)


def test_a_worker_that_dies_before_its_claim_has_not_sent_the_capture(provider: ApprovingProvider) -> None:
    payment = provider.odd.start()
    provider.odd.answer(CAPTURED)
    provider.approve(payment)
    die_in_the_capture(provider, 1, "before")
    assert (provider.captures, provider.row(payment)["capture_sent_at"]) == ([], None)
    provider.odd.engine.ask(payment.id)
    provider.assert_credited_once(payment)


def test_a_capture_whose_worker_died_before_its_claim_can_be_cancelled(provider: ApprovingProvider, buyer: Api) -> None:
    payment = provider.odd.start(status="cancelled")
    provider.approve(payment)
    die_in_the_capture(provider, 1, "before")
    assert buyer.post(f"/api/payments/{payment.id}/cancel").json()["status"] == "cancelled"
    provider.odd.engine.call()
    assert provider.captures == []


def die_in_the_capture(provider: ApprovingProvider, nth: int, when: When) -> None:
    """Let a worker capture what is due, and die with its `nth` commit."""
    die_in_call(provider.shop.runtime, provider.odd.engine.databases.database_url, nth, when)
