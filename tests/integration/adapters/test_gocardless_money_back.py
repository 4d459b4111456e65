"""Money of GoCardless's payments that goes back and comes again, against the emulator over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import OutcomeUnknown, ProviderCallFailed, Unavailable, UnexpectedAnswer
from app.providers.adapters.gocardless import gocardless_calls
from models import new_id
from tests.integration.adapters.gocardless_merchant import disputes, fail_late, moved, open_merchant, refund
from tests.integration.adapters.merchant import Merchant
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    return open_merchant(sandbox, receiver)


def test_a_failure_after_the_confirmation_gives_all_back_until_it_is_collected_again(merchant: Merchant) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    fail_late(merchant, payment_id)
    gone, again = ("reversed", 2500), ("reinstated", 2500)
    assert moved(merchant.fetch(payment_id, reference)) == [gone]
    merchant.shop.happen(str(payment_id), "win_dispute")
    assert moved(merchant.fetch(payment_id, reference)) == [gone, again]
    fail_late(merchant, payment_id)
    merchant.shop.happen(str(payment_id), "lose_dispute")
    fact = merchant.fetch(payment_id, reference)
    assert (moved(fact), disputes(fact)) == ([gone, again, gone], [])
    assert len({one.reversal_id for one in fact.movements}) == 2


def test_what_was_given_back_comes_with_the_state(merchant: Merchant) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    refund(merchant, reference, 700, 700)
    assert moved(merchant.fetch(payment_id, reference)) == [("reversed", 700)]
    merchant.shop.happen(str(payment_id), "fail_refund")
    failed = [("reversed", 700), ("reinstated", 700)]
    assert moved(merchant.fetch(payment_id)) == failed
    merchant.shop.happen(str(payment_id), "dispute")
    fact = merchant.fetch(payment_id)
    assert (moved(fact), disputes(fact)) == ([*failed, ("reversed", 2500)], [("opened", "fraudulent")])
    merchant.shop.happen(str(payment_id), "win_dispute", "dispute", "lose_dispute")
    fact = merchant.fetch(payment_id)
    assert moved(fact) == [*failed, ("reversed", 2500), ("reinstated", 2500), ("reversed", 2500)]
    assert disputes(fact) == [("won", "fraudulent"), ("lost", "fraudulent")]


def test_its_events_have_pages(merchant: Merchant, monkeypatch: pytest.MonkeyPatch) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay", "dispute", "win_dispute")
    whole = merchant.fetch(payment_id, reference)
    for rows in (1, 2, 4):
        monkeypatch.setattr(gocardless_calls, "LIST_ROWS", rows)
        assert merchant.fetch(payment_id, reference) == whole


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"show": {"body.events": []}}, UnexpectedAnswer),
        ({"show": {"body.events": None}}, OutcomeUnknown),
        ({"status": 500}, Unavailable),
        ({"answer": "torn"}, OutcomeUnknown),
    ],
)
def test_a_chargeback_whose_events_cannot_be_read_is_asked_for_again(
    merchant: Merchant, fault: dict[str, Any], error: type[ProviderCallFailed]
) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay", "dispute")
    merchant.shop.script(str(payment_id), fetch=fault)
    with pytest.raises(error):
        merchant.fetch(payment_id, reference)
