"""Money and its way back in every order and by every channel: the wallet ends with what the provider kept."""

from __future__ import annotations

import contextlib
import datetime
import random
from dataclasses import dataclass
from typing import Any

import pytest

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.services.operators import redrive, resolve
from app.services.payments import queries
from app.services.tenants import policies
from app.services.upkeep import sweep
from app.services.verification import prove
from app.services.verification.walking import check_payments
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine

HOUR = datetime.timedelta(hours=1)


@dataclass
class ReversalScene:
    """One payment whose own webhooks the sandbox never sends, and all sources that may report its money."""

    front: Stack
    engine: Engine
    shop: Shop
    payment: Payment

    def webhook(self, kind: str, amount: str, **changes: Any) -> None:
        if kind == "refund":
            self.shop.deliver_refund(self.payment, amount=amount, **changes)
        else:
            self.shop.deliver(self.shop.body(self.payment, amount=amount, **changes))
        self.engine.settle()

    def act(self, action: str, **body: Any) -> None:
        self.front.sandbox.act(str(self.payment.provider_reference), action, **body)

    def poll(self) -> None:
        self.engine.ask(self.payment.id)

    def list(self) -> None:
        self.engine.reconcile(self.shop)

    def cancel(self) -> None:
        with contextlib.suppress(RequestRejected):
            queries.cancel_payment(self.shop.runtime, self.shop.caller, self.payment.id)

    def accept(self) -> str:
        """Accept what waits for a person; return what the last acceptance did."""
        effect = ""
        while waiting := self.engine.databases.rows(
            "select id from dead_letters where payment_id = :id and state = 'open' and amount_minor is not null",
            id=self.payment.id,
        ):
            effect = resolve.accept(self.shop.runtime, self.shop.tenant_id, waiting[0]["id"], ACTOR)
        return effect

    @property
    def balance(self) -> int:
        return sum(minor for kind, minor in self.engine.entries(self.payment.id) if kind == "user")


@pytest.fixture
def scene(front: Stack, engine: Engine, shop: Shop) -> ReversalScene:
    payment = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    engine.call()
    return ReversalScene(front, engine, shop, shop.payment(payment.id))


@pytest.mark.parametrize("seed", range(16))
def test_every_order_of_arrival_ends_with_the_same_balance(scene: ReversalScene, seed: int) -> None:
    """The provider got 25.00, in one part or two, and gave all or 10.00 of it back."""
    chance = random.Random(seed)  # an order, not a secret
    in_parts, kept = chance.random() < 0.5, chance.choice((0, 1500))
    steps: list[tuple[Any, ...]] = [(scene.webhook, "success", "25.00"), (scene.webhook, "refund", "10.00")]
    steps += [(scene.poll,), (scene.list,), (scene.accept,)]
    steps += [(scene.cancel,)] if chance.random() < 0.3 else []
    steps += [(scene.webhook, "success", "10.00")] if in_parts else []
    steps += [(scene.webhook, "refund", "25.00")] if kept == 0 else []
    # The provider continues to act while its messages overtake each other.
    truth: list[tuple[Any, ...]] = [(scene.act, "pay", "10.00")] if in_parts else []
    truth += [(scene.act, "pay", None), (scene.act, "refund", "10.00")]
    truth += [(scene.act, "refund", None)] if kept == 0 else []
    chance.shuffle(steps)
    earliest = 0
    for step in truth:
        earliest = chance.randint(earliest, len(steps)) + 1
        steps.insert(earliest - 1, step)
    for do, *about in steps:
        if do == scene.act:
            action, amount = about
            late = {"even_if_ended": True} if action == "pay" else {}
            scene.act(action, **late, **({"amount": amount} if amount else {}))
        else:
            do(*about)
    # Reconcile last: read what only the provider's books have.
    scene.list()
    scene.accept()
    assert scene.balance == kept
    shown = scene.shop.payment(scene.payment.id)
    assert (shown.status, shown.received_minor, shown.reversed_minor) == ("completed", 2500, 2500 - kept)
    scene.engine.number()
    report = prove(scene.shop.runtime.database, "full", scene.shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_accepting_underpaid_money_after_its_refund_ends_at_nothing(scene: ReversalScene) -> None:
    scene.webhook("success", "10.00")
    scene.webhook("refund", "10.00")
    assert scene.engine.dead_letters(scene.payment.id) == [("underpaid", "open")]
    effect = scene.accept()
    assert "deposit of 10.00 USD" in effect
    assert "the provider took money back" in effect
    assert "reversal of 10.00 USD" in effect
    assert scene.balance == 0
    assert scene.engine.verdicts(scene.payment.id) == [("failed", "dead_letter"), ("processed", "applied")]


@pytest.mark.parametrize("source", ["poll", "list"])
def test_a_refund_that_only_a_lookup_reports_is_booked(scene: ReversalScene, source: str) -> None:
    scene.act("pay")
    scene.act("refund")
    getattr(scene, source)()
    assert scene.shop.payment(scene.payment.id).exceptions == {"reversed"}
    assert scene.balance == 0


def test_redriving_a_completed_payments_case_looks_it_up(scene: ReversalScene) -> None:
    scene.act("pay")
    scene.poll()
    match = {"merchant_reference": str(scene.payment.id)}
    scene.front.sandbox.script(match=match, fetch={"show": {"received_amount": "24.00"}})
    scene.list()
    scene.front.sandbox.script(match=match, fetch={"show": {}})
    scene.act("refund", amount="10.00")
    case = scene.engine.databases.value("select id from dead_letters where payment_id = :id", id=scene.payment.id)
    effect = redrive.redrive(scene.shop.runtime, scene.shop.tenant_id, case, ACTOR).effect
    assert effect == "asks the provider: poll"
    scene.engine.call()
    assert (scene.balance, scene.engine.action(scene.payment.id)) == (1500, None)


def test_money_of_another_reference_goes_back_after_it_was_accepted(scene: ReversalScene) -> None:
    """A second payment's refund comes first: it takes nothing until the money is there, then that money alone."""
    scene.webhook("success", "25.00")
    scene.webhook("refund", "25.00", provider_reference="other")
    scene.webhook("success", "25.00", provider_reference="other")
    assert scene.balance == 2500
    scene.accept()
    assert scene.balance == 2500
    scene.webhook("refund", "10.00")
    assert scene.balance == 1500
    shown = scene.shop.payment(scene.payment.id)
    assert (shown.received_minor, shown.reversed_minor) == (2500, 3500)
    assert ("reversal", "superseded") in scene.engine.dead_letters(scene.payment.id)
    scene.webhook("refund", "25.00", provider_reference="other")
    assert scene.balance == 1500
    report = prove(scene.shop.runtime.database, "full", scene.shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_a_reversal_whose_success_never_comes_is_a_dead_letter_when_the_window_ends(scene: ReversalScene) -> None:
    scene.webhook("refund", "25.00")
    scene.cancel()
    assert check_payments_of(scene) == []
    sweep.housekeep(scene.shop.runtime)
    assert scene.engine.dead_letters(scene.payment.id) == []
    due = "select due_at from waiting_reversals where payment_id = :id"
    expires_at = scene.shop.payment(scene.payment.id).expires_at
    assert scene.engine.databases.value(due, id=scene.payment.id) == expires_at + datetime.timedelta(days=1)
    end_window(scene)
    sweep.housekeep(scene.shop.runtime)
    sweep.housekeep(scene.shop.runtime)
    (letter,) = scene.engine.databases.rows("select * from dead_letters where payment_id = :id", id=scene.payment.id)
    webhook = scene.engine.databases.rows("select * from payment_webhooks where payment_id = :id", id=scene.payment.id)
    assert (letter["reason"], letter["state"], letter["kind"]) == ("reversal", "open", "webhook")
    assert bytes(letter["body"]) == bytes(webhook[0]["body"])
    alarms = "select count(*) from alerts where tenant_id = :id and kind = 'reversal_held'"
    assert scene.engine.databases.value(alarms, id=scene.shop.tenant_id) == 1
    # Money that comes all the same goes back at once, and nobody has to act any more.
    scene.webhook("success", "25.00")
    assert scene.balance == 0
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "superseded")]
    assert scene.engine.databases.rows(due, id=scene.payment.id) == []


def check_payments_of(scene: ReversalScene) -> list[Any]:
    """Return what the checks of `sluice verify` find about the payment while part of its work is pending."""
    with scene.shop.runtime.database.snapshot("operator") as connection:
        return list(check_payments(connection, [scene.payment.id]))


def end_window(scene: ReversalScene) -> None:
    """Let the day after the expiry be over."""
    scene.engine.databases.rows(
        "update payment_transactions set expires_at = now() - interval '1 day 1 second' where id = :id",
        id=scene.payment.id,
    )
    scene.engine.databases.rows(
        "update waiting_reversals set due_at = now() where payment_id = :id", id=scene.payment.id
    )


def test_a_reversal_before_its_money_is_booked_under_every_policy(scene: ReversalScene) -> None:
    policies.change_policy(scene.shop.runtime, scene.shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
    scene.webhook("refund", "25.00")
    scene.webhook("success", "25.00")
    assert scene.balance == 0
