"""The other things that may happen to a deposit; their deaths are tried at some commits only."""

from __future__ import annotations

import json
import uuid

from sqlalchemy import Connection, text

from app.services.webhooks import settle
from tests.scenarios.stories import Story, begin, try_until_known
from tests.scenarios.world import World


def cancelled_at_the_provider(world: World) -> None:
    """Press Cancel on the pay page."""
    begin(world)
    world.act("cancel")
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


def unreachable_at_first(world: World) -> None:
    """Answer 503 twice at the provider, then work."""
    world.script(create={"status": 503, "times": 2})
    begin(world)
    try_until_known(world)
    world.act("pay")
    world.work()


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
