"""What a webhook is about, what it was worth each time it was settled, and the amounts a person reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.providers import Delivered, Event, Name
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import redrive, resolve
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.commands import Commands
from tests.support.engine import Engine


class OwnForm(SandboxAdapter):
    """A provider whose webhooks name the payment as `order`, or as an alias that only translating finds out."""

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return what `order` names, our id or the provider's."""
        return uuid.UUID(body["order"]) if "order" in body else None

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return the fact of the common body with the payment's name in it."""
        body = delivered.read_object()
        named = {**body, "transaction_id": body.get("order") or body["alias"][::-1]}
        return super().translate(replace(delivered, body=json.dumps(named).encode()))


def own_form(shop: Shop) -> Shop:
    """Return the shop, with a provider whose webhooks have a format of their own."""
    runtime = replace(shop.runtime)
    runtime.adapters["sandbox"] = OwnForm(frozenset())
    return replace(shop, runtime=runtime)


def own_body(shop: Shop, payment: Any, **named: str) -> bytes:
    fields = json.loads(shop.body(payment))
    del fields["transaction_id"]
    return json.dumps(fields | named).encode()


def test_a_webhook_in_a_providers_own_form_belongs_to_its_payment_at_once(engine: Engine, shop: Shop) -> None:
    payment, other = engine.start(shop), own_form(shop)
    other.deliver(own_body(shop, payment, order=str(payment.id)), "provider")
    assert engine.verdicts(payment.id) == [("pending", None)]
    # The expiry waits for it, as for any other.
    engine.expire(payment.id)
    engine.call()
    assert shop.payment(payment.id).status == "processing"
    Engine(other.runtime, engine.databases).settle()
    assert shop.payment(payment.id).status == "completed"


def test_a_payment_that_only_translating_finds_out_is_named_then(front: Stack, engine: Engine, shop: Shop) -> None:
    payment, other = engine.start(shop), own_form(shop)
    receipt = other.deliver(own_body(shop, payment, alias=str(payment.id)[::-1]), "provider")
    assert engine.verdicts(payment.id) == []
    Engine(other.runtime, engine.databases).settle()
    assert engine.verdicts(payment.id) == [("processed", "applied")]
    listed = Commands(front.databases).json("webhooks", "list", "--payment", str(payment.id))["data"]
    assert [row["id"] for row in listed] == [str(receipt.webhook_id)]


def test_the_timeline_has_each_verdict_when_it_was_given(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = engine.start(shop)
    receipt = shop.deliver(shop.body(payment, amount="10.00"))
    engine.settle()
    case = front.databases.value("select id from dead_letters where payment_id = :id", id=payment.id)
    redrive.redrive(shop.runtime, shop.tenant_id, case, ACTOR)
    engine.settle()
    resolve.accept(shop.runtime, shop.tenant_id, case, ACTOR)
    redrive.replay_webhook(shop.runtime, shop.tenant_id, uuid.UUID(str(receipt.webhook_id)), ACTOR)
    waiting = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    engine.settle()
    reported = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    wanted = ("webhook", "webhook_settled", "dead_letter_redriven", "dead_letter_accepted", "webhook_replayed")
    story = [(event["kind"], event["detail"].get("verdict")) for event in reported if event["kind"] in wanted]
    assert story == [
        ("webhook", "dead_letter"),
        ("dead_letter_redriven", None),
        ("webhook_settled", "duplicate"),
        ("dead_letter_accepted", None),
        ("webhook_replayed", None),
        ("webhook_settled", "duplicate"),
    ]
    assert [event["kind"] for event in waiting].count("webhook_settled") == 1
    assert [event["at"] for event in reported] == sorted(event["at"] for event in reported)
    text = Commands(front.databases).text("payments", "explain", str(payment.id))
    for earlier, later in zip(
        lines := ("underpaid: asked 25.00 USD, received 10.00 USD", "is tried again", "is settled once more"),
        lines[1:],
        strict=False,
    ):
        assert text.index(earlier) < text.index(later)


@pytest.mark.parametrize(("amount", "currency"), [("25.000", "USD"), ("1000.00", "JPY")])
def test_an_exact_amount_of_a_provider_is_exact(engine: Engine, shop: Shop, amount: str, currency: str) -> None:
    payment = engine.start(shop, amount=amount[: amount.index(".")], currency=currency)
    shop.deliver(shop.body(payment, amount=amount))
    engine.settle()
    assert shop.payment(payment.id).status == "completed"
    assert engine.dead_letters(payment.id) == []


def test_people_read_amounts_in_the_currencys_digits(front: Stack, engine: Engine, shop: Shop) -> None:
    """Details, effects and alarms: nobody has to count minor units."""
    less, twice = engine.start(shop), engine.start(shop)
    shop.deliver(shop.body(less, amount="10.00"))
    shop.deliver(shop.body(twice))
    engine.settle()
    shop.deliver(shop.body(twice, amount="30.00"))
    engine.settle()
    letters = front.databases.rows("select * from dead_letters where tenant_id = :id order by id", id=shop.tenant_id)
    said = [letter["detail"] for letter in letters]
    said += [resolve.accept(shop.runtime, shop.tenant_id, letter["id"], ACTOR, is_dry_run=True) for letter in letters]
    alarms = front.databases.rows("select detail ->> 'why' as why from alerts where tenant_id = :id", id=shop.tenant_id)
    said += [alarm["why"] for alarm in alarms]
    reference = twice.provider_reference
    assert set(said) == {
        "asked 25.00 USD, received 10.00 USD",
        "underpaid: asked 25.00 USD, received 10.00 USD",
        f"completed with 25.00 USD ({reference}), now 30.00 USD ({reference})",
        "applied: accepted by a person; the payment is completed; deposit of 10.00 USD",
        "applied: accepted by a person; the payment is completed; deposit of 5.00 USD",
    }
