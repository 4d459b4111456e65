"""Payments whose money a policy gives back, and what tests read of them."""

from __future__ import annotations

import uuid
from typing import Any

from app.core.payment import Payment
from app.services.payments import refunds
from app.services.tenants import policies
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine

# Entries of 25.00 that came late, and of 30.00 for 25.00.
LATE_IN, LATE_OUT = [("suspense", 2500), ("clearing", -2500)], [("suspense", -2500), ("clearing", 2500)]
OVER_IN = [("user", 2500), ("suspense", 500), ("clearing", -2500), ("clearing", -500)]
OVER_OUT = [("suspense", -500), ("clearing", 500)]


def give_back(shop: Shop, late: str = "refund", over: str = "refund") -> None:
    """Set the policies."""
    policies.change_policy(shop.runtime, shop.tenant_id, {"late_policy": late, "over_policy": over}, ACTOR)


def pay_late(front: Stack, engine: Engine, shop: Shop, amount: str = "25.00") -> Payment:
    """Return a payment of 25.00 that was cancelled before its money came; its refund is due."""
    payment = engine.start(shop)
    # A lookup finds the money, so that no webhook of the sandbox comes at a time of its own.
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    shop.deliver(shop.body(payment, "cancelled"))
    engine.settle()
    front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True, amount=amount)
    return settle_payment(engine, shop, payment, amount)


def pay_too_much(front: Stack, engine: Engine, shop: Shop, amount: str = "30.00") -> Payment:
    """Return a payment of 25.00 for which more came; the refund of the excess is due."""
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    front.sandbox.act(str(payment.provider_reference), "pay", amount=amount)
    return settle_payment(engine, shop, payment, amount)


def settle_payment(engine: Engine, shop: Shop, payment: Payment, amount: str) -> Payment:
    """Deliver the success that the sandbox sends of it, and return the payment as it is then."""
    shop.deliver(shop.body(payment, amount=amount))
    engine.settle()
    return shop.payment(payment.id)


def list_refunds(shop: Shop, payment: Payment) -> list[dict[str, Any]]:
    """Return the refunds of the payment as callers see them."""
    return refunds.list_refunds(shop.runtime.database, shop.tenant_id, payment.id, "web")


def find_case(engine: Engine, payment: Payment) -> uuid.UUID:
    """Return the payment's one open dead letter."""
    query = "select id from dead_letters where payment_id = :id and state = 'open'"
    (row,) = engine.databases.rows(query, id=payment.id)
    return uuid.UUID(str(row["id"]))


def in_suspense(engine: Engine, shop: Shop) -> int:
    """Return what is in the tenant's suspense wallets, in minor units."""
    query = "select coalesce(sum(balance_minor), 0)::bigint from wallets where tenant_id = :id and kind = 'suspense'"
    return int(engine.databases.value(query, id=shop.tenant_id))
