"""`sluice payments explain` on a disputed payment: what happened, where the money is now, what happens next."""

from __future__ import annotations

import json

import pytest

from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.reversals.single_reversals import SingleScene, open_scene
from tests.support.commands import Commands

WHOLE = "The money: all of it, 25.00 USD, is credited to the user's wallet; none of it is with the provider now."
AWAY = "The money: of the 25.00 USD that were credited to the user's wallet, 25.00 USD have gone back."


@pytest.fixture
def scene(front: Stack, shop: Shop) -> SingleScene:
    """Provide a payment that was paid."""
    opened = open_scene(front, shop)
    opened.pay()
    opened.success()
    return opened


def explain(scene: SingleScene) -> tuple[str, str]:
    """Return the summary and the dispute's line."""
    text = Commands(scene.front.databases).text("payments", "explain", str(scene.payment.id))
    summary, dispute, blank, *_ = text.splitlines()
    assert blank == ""
    return summary, dispute


def report(scene: SingleScene, state: str, **more: str) -> None:
    scene.webhook("dispute", dispute_id="dp_1", dispute_state=state, **more)


def test_one_that_is_open_says_where_the_money_is_and_what_to_do(scene: SingleScene) -> None:
    report(scene, "opened", reason="fraudulent", evidence_due_at="2030-01-31T12:00:00+00:00")
    summary, dispute = explain(scene)
    assert "Needs attention: disputed." in summary
    assert dispute.startswith("Dispute dp_1 (fraudulent): the payer disputed the payment on ")
    assert ", and is open. " in dispute
    assert WHOLE in dispute
    assert "Next: answer it at the provider until 2030-01-31 12:00 UTC" in dispute
    scene.moved("reversed", "re_a", 2500)
    _, dispute = explain(scene)
    assert AWAY in dispute
    assert dispute.endswith("won, the money comes again, lost, it stays away.")


def test_one_that_was_won_says_so(scene: SingleScene) -> None:
    report(scene, "opened")
    scene.moved("reversed", "re_a", 2500)
    report(scene, "won")
    _, dispute = explain(scene)
    assert "and was won on " in dispute
    assert f"{AWAY} Next: the provider reports what it gives back" in dispute
    scene.moved("reinstated", "re_a", 2500)
    summary, dispute = explain(scene)
    assert "Needs attention" not in summary
    assert dispute.endswith(f"the provider decided for you. {WHOLE} Nothing is left to do.")


def test_one_that_was_lost_says_so(scene: SingleScene) -> None:
    report(scene, "opened")
    report(scene, "lost")
    _, dispute = explain(scene)
    assert f"{WHOLE} Next: the provider reports what it takes back" in dispute
    scene.moved("reversed", "re_a", 2500)
    _, dispute = explain(scene)
    assert "and was lost on " in dispute
    assert dispute.endswith(f"the provider decided for the payer. {AWAY} This is final.")


def test_one_whose_payment_was_never_credited_says_so(front: Stack, shop: Shop) -> None:
    scene = open_scene(front, shop)
    report(scene, "opened")
    _, dispute = explain(scene)
    assert "None of its money was credited." in dispute
    told = Commands(front.databases).text("payments", "explain", str(scene.payment.id), "--json")
    (shown,) = json.loads(told)["disputes"]
    assert (shown["id"], shown["status"], shown["closed_at"]) == ("dp_1", "opened", None)
