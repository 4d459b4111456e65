"""A shop that gives money back, and what tests read of it."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Any

from app.core.payment import Payment
from app.services.ledger.wallets import read_wallets
from app.services.payments import refunds
from app.services.payments.calls.call_settlement import Answer
from app.services.payments.calls.provider_calls import make_call
from app.services.payments.refunds import RefundMade, RefundRequest
from app.services.verification import prove
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine, claim_call


def pay(front: Stack, engine: Engine, shop: Shop, *, silent: bool = False, **deposit: Any) -> Payment:
    """Return a payment of 25.00 USD that is paid and credited; where `silent` the sandbox sends no webhook of it."""
    made = shop.deposit(**deposit)
    if silent:
        front.sandbox.script(match={"merchant_reference": str(made.id)}, webhook={"send": []})
    engine.call()
    front.sandbox.act(str(shop.payment(made.id).provider_reference), "pay")
    if silent:
        engine.ask(made.id)
    else:
        engine.run_until(lambda: shop.payment(made.id).status == "completed", "the money is credited")
    return shop.payment(made.id)


def ask(
    shop: Shop, payment: Payment, amount: str | None = None, key: str | None = None, reference: str | None = None
) -> RefundMade:
    """Ask for a refund."""
    body = f"{payment.id}{amount}{reference}".encode()
    key = key or secrets.token_hex(8)
    request = RefundRequest(payment.id, amount, reference, "asked for", key, hashlib.sha256(body).digest())
    return refunds.ask_refund(shop.runtime, shop.tenant_id, request, ACTOR)


def call_without_settling(shop: Shop) -> Answer:
    """Make the one call that is due; its answer is not settled yet."""
    claim = claim_call(shop.runtime)
    assert claim is not None
    answer = make_call(shop.runtime, claim)
    assert answer is not None
    return answer


def read(shop: Shop, made: RefundMade) -> dict[str, Any]:
    """Return the refund as it is now."""
    return refunds.get_refund(shop.runtime.database, shop.tenant_id, uuid.UUID(made.refund["id"]), "web")


def user_entries(engine: Engine, payment: Payment) -> list[int]:
    """Return the signed entries of the payment in its user's wallet."""
    return [minor for kind, minor in engine.entries(payment.id) if kind == "user"]


def wallet(shop: Shop, user: str) -> tuple[int, int, int]:
    """Return balance, held and available of the user's one wallet, in minor units."""
    (found,) = read_wallets(shop.runtime.database, shop.tenant_id, user)
    return found["balance_minor"], found["held_minor"], found["available_minor"]


def check_books(engine: Engine, shop: Shop) -> None:
    """Fail unless the tenant's books hold every invariant."""
    engine.number()
    report = prove(shop.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()
