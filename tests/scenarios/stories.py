"""Scenarios of a deposit; the end of each is the same whatever happens to doorbells and processes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.services.webhooks import settle
from tests.scenarios.world import World


@dataclass(frozen=True)
class Story:
    """A scenario and its end: the payment's status and mark, what the user's wallet holds, and its dead letters.

    `is_raced`: the provider's answer and its webhook are under way at once, so either may be saved first.
    `is_ordered`: it is about an order of arrival, which a death before a commit or two workers at once may change.
    `is_one_set`: it is about webhooks of one set; after a death each is settled in isolation, in any order.
    `is_counted`: it ends when all attempts are used up, and a death uses up one of them.
    """

    tell: Callable[[World], None]
    status: str
    exception: str | None = None
    credited_minor: int = 0
    cases: tuple[tuple[str, str], ...] = ()
    is_raced: bool = False
    is_ordered: bool = False
    is_counted: bool = False
    is_one_set: bool = False

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.tell.__name__


def begin(world: World) -> None:
    """Make a deposit that the provider has."""
    world.deposit(metadata=world.marked)
    world.work()


def try_until_known(world: World) -> None:
    """Let time pass until the provider has the deposit: a death may have used up one of its bad answers."""
    while world.payment.provider_reference is None:
        world.pass_time()


def paid(world: World) -> None:
    """Pay in the ordinary way."""
    begin(world)
    world.act("pay")
    world.work()


def declined(world: World) -> None:
    """Decline at the provider."""
    begin(world)
    world.act("decline", message="No cover.")
    world.work()


def cancelled_at_the_provider(world: World) -> None:
    """Press Cancel on the pay page."""
    begin(world)
    world.act("cancel")
    world.work()


def cancelled_then_paid(world: World) -> None:
    """Cancel here, and pay at the provider all the same."""
    begin(world)
    world.cancel()
    world.work()
    world.act("pay", even_if_ended=True)
    world.work()


def cancelled_before_it_was_sent(world: World) -> None:
    """Cancel before any provider knows the payment."""
    world.deposit(metadata=world.marked)
    world.cancel()
    world.work()


def expired_then_paid(world: World) -> None:
    """Nobody pays in time, and then somebody does."""
    begin(world)
    world.expire()
    world.act("pay", even_if_ended=True)
    world.work()


def webhook_before_the_answer(world: World) -> None:
    """Take and settle the webhook while the provider's answer is still under way."""
    world.script(auto={"action": "pay"}, create={"after_webhook": True})
    world.harness.door.after_taking = lambda: settle.settle_due(world.shop.runtime)
    begin(world)
    world.rest(1)
    world.work()


def doubled_webhooks(world: World) -> None:
    """Each webhook comes six times at once."""
    world.script(webhook={"send": [{"copies": 6, "parallel": True}]})
    begin(world)
    world.act("pay", webhooks=6)
    world.work()


def reordered_webhooks(world: World) -> None:
    """Deliver the refund's webhook before that of the payment."""
    world.script(webhook={"reverse": 2})
    begin(world)
    world.act("pay", webhooks=1)
    world.act("refund", webhooks=1)
    world.work()


def webhook_never_sent(world: World) -> None:
    """No webhook comes; the provider is asked."""
    world.script(webhook={"send": []})
    begin(world)
    world.act("pay", webhooks=0)
    world.work()
    world.pass_time()


def unreachable_at_first(world: World) -> None:
    """Answer 503 twice at the provider, then work."""
    world.script(create={"status": 503, "times": 2})
    begin(world)
    try_until_known(world)
    world.act("pay")
    world.work()


def timed_out_but_captured(world: World) -> None:
    """Let the provider have the order and the money, but lose its answer."""
    world.script(auto={"action": "pay"}, create={"answer": "timeout", "hold": 0.1, "times": 1})
    begin(world)
    world.rest(1)
    world.work()
    world.pass_time()


def torn_answer(world: World) -> None:
    """Half an answer comes; the same order is sent again."""
    world.script(create={"answer": "torn", "times": 1})
    begin(world)
    try_until_known(world)
    world.act("pay")
    world.work()


def underpaid_then_topped_up(world: World) -> None:
    """Too little comes, then the rest."""
    begin(world)
    world.act("pay", amount="10.00")
    world.work()
    world.act("pay")
    world.work()


def underpaid_and_topped_up_at_once(world: World) -> None:
    """Too little comes, and the rest before the first is settled."""
    begin(world)
    world.act("pay", amount="10.00")
    world.act("pay")
    world.work()


def overpaid_and_accepted(world: World) -> None:
    """Too much comes, and a person accepts it."""
    begin(world)
    world.act("pay", amount="30.00")
    world.work()
    world.decide("accept")
    world.work()


def other_currency_rejected(world: World) -> None:
    """Another currency comes, and a person rejects it."""
    begin(world)
    world.act("pay", amount="25.00", currency="EUR")
    world.work()
    world.decide("reject")
    world.work()


def contradicted(world: World) -> None:
    """After the success the provider says that it failed."""
    world.script(webhook={"events": ["success"], "send": [{}, {"opposite": True}]})
    begin(world)
    world.act("pay", webhooks=2)
    world.work()


def paid_twice(world: World) -> None:
    """Pay a second time under another reference; a person accepts that."""
    world.script(webhook={"send": [{}, {"change": {"provider_reference": "sbx_other"}}]})
    begin(world)
    world.act("pay", webhooks=2)
    world.work()
    world.decide("accept")
    world.work()


def refunded(world: World) -> None:
    """Refund a part, then all."""
    begin(world)
    world.act("pay")
    world.work()
    world.act("refund", amount="10.00")
    world.work()
    world.act("refund")
    world.work()


def webhook_before_the_payment(world: World) -> None:
    """Take a webhook before its payment is committed."""

    def meanwhile(connection: Connection) -> None:
        shop = world.shop
        payment_id = connection.execute(text("select id from payment_transactions")).scalar_one()
        fields = {
            "provider_id": str(shop.provider_id),
            "event_type": "payment.success",
            "status": "success",
            "transaction_id": str(payment_id),
            "amount": "25.00",
            "currency": "USD",
        }
        with world.harness.database.spared():
            shop.deliver(json.dumps(fields).encode())
            settle.settle_due(shop.runtime)

    world.harness.database.before_commit = meanwhile
    begin(world)
    world.pass_time("webhooks")


def unknown_payment(world: World) -> None:
    """Send a webhook about a payment that does not exist, in addition to the true one."""
    nobody = str(uuid.uuid4())
    world.script(webhook={"send": [{"change": {"transaction_id": nobody}}, {}]})
    begin(world)
    world.act("pay", webhooks=2)
    world.work()
    for _ in range(settle.ATTEMPTS_MAX):
        world.pass_time("webhooks")


def same_id_other_bytes(world: World) -> None:
    """Repeat the webhook's id with another amount."""
    world.script(webhook={"send": [{}, {"same_id": True, "change": {"amount": "9.99"}}]})
    begin(world)
    world.act("pay", webhooks=2)
    world.work()


def forged(world: World) -> None:
    """Send a forgery before the true webhook."""
    world.script(webhook={"send": [{"signature": "forged", "attempts": 1}, {}]})
    begin(world)
    world.act("pay", webhooks=2)
    world.work()


# Every kind of end is among these; their deaths are tried at every single commit.
MAIN = (
    Story(paid, "completed", None, 2500),
    Story(declined, "failed"),
    Story(cancelled_then_paid, "completed", "late", 2500),
    Story(webhook_never_sent, "completed", None, 2500),
    Story(timed_out_but_captured, "completed", None, 2500, is_raced=True),
    Story(overpaid_and_accepted, "completed", "overpaid", 3000, (("overpaid", "accepted"),)),
)
OTHERS = (
    Story(cancelled_at_the_provider, "cancelled"),
    Story(cancelled_before_it_was_sent, "cancelled"),
    Story(expired_then_paid, "completed", "late", 2500),
    Story(webhook_before_the_answer, "completed", None, 2500, is_raced=True),
    Story(doubled_webhooks, "completed", None, 2500),
    Story(reordered_webhooks, "completed", "reversed", 0, is_ordered=True),
    Story(unreachable_at_first, "completed", None, 2500),
    Story(torn_answer, "completed", None, 2500),
    Story(underpaid_then_topped_up, "completed", None, 2500, (("underpaid", "superseded"),)),
    Story(underpaid_and_topped_up_at_once, "completed", None, 2500, (("underpaid", "superseded"),), is_one_set=True),
    Story(other_currency_rejected, "processing", "currency_mismatch", 0, (("currency_mismatch", "rejected"),)),
    Story(contradicted, "completed", "conflict", 2500, is_ordered=True),
    Story(paid_twice, "completed", "conflict", 5000, (("second_payment", "accepted"),), is_ordered=True),
    Story(refunded, "completed", "reversed", 0),
    Story(webhook_before_the_payment, "completed", None, 2500, is_ordered=True),
    Story(unknown_payment, "completed", None, 2500, (("unknown_payment", "open"),), is_counted=True),
    Story(same_id_other_bytes, "completed", None, 2500, is_ordered=True),
    Story(forged, "completed", None, 2500),
)
