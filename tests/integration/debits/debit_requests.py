"""A shop that spends its users' wallets, and what tests read of it."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Any

from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.services.debits import spending
from app.services.debits.spending import DebitMade, DebitRequest
from app.services.ledger.wallets import read_wallets
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.verification import prove
from testbed.shop import ACTOR, Shop
from tests.support.books import complete
from tests.support.engine import Engine


def credit(engine: Engine, shop: Shop, user_id: str = "ann", amount: str = "25.00", currency: str = "USD") -> Payment:
    """Return a payment whose money is in the user's wallet."""
    payment = shop.deposit(amount, currency, user_id)
    complete(shop, payment)
    engine.settle()
    assert shop.payment(payment.id).status == "completed"
    return payment


def take(
    shop: Shop, amount: str, key: str | None = None, user_id: str = "ann", reference: str = "order-1"
) -> DebitMade:
    """Make a debit of US dollars."""
    body = hashlib.sha256(f"{user_id} {amount} {reference}".encode()).digest()
    wanted = DebitRequest(user_id, amount, "USD", reference, None, key or secrets.token_hex(8), body)
    return spending.take(shop.runtime, shop.tenant_id, wanted, ACTOR)


def give_back(shop: Shop, made: DebitMade, reason: str | None = None) -> dict[str, Any]:
    """Reverse a debit."""
    return spending.give_back(shop.runtime, shop.tenant_id, uuid.UUID(made.debit["id"]), ACTOR, reason)


def wallet(shop: Shop, user_id: str = "ann") -> tuple[int, int, int]:
    """Return balance, held and available of the user's one wallet, in minor units."""
    (found,) = read_wallets(shop.runtime.database, shop.tenant_id, user_id)
    return found["balance_minor"], found["held_minor"], found["available_minor"]


def end_refunds(engine: Engine, shop: Shop) -> None:
    """Report the tenant's refunds that are under way as completed, so that no call of them stays due."""
    under_way = "select id, payment_id from refunds where tenant_id = :id and status = 'pending'"
    for row in engine.databases.rows(under_way, id=shop.tenant_id):
        fact = Fact(FactKind.REFUND_STATE, refund_id=row["id"], refund_state="completed")
        with settlement.open(shop.runtime, "worker") as batch:
            batch.settle([Item(shop.tenant_id, row["payment_id"], fact, "system")])
    check_books(engine, shop)


def count_debits(engine: Engine, shop: Shop) -> int:
    """Return how many debits the tenant has."""
    found: int = engine.databases.value("select count(*) from debits where tenant_id = :id", id=shop.tenant_id)
    return found


def check_books(engine: Engine, shop: Shop) -> None:
    """Fail unless the tenant's books hold every invariant, and its spending wallet has what its users' wallets lack."""
    engine.number()
    report = prove(shop.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()
    spent = (
        "select coalesce((select sum(balance_minor) from wallets where tenant_id = :id and kind = 'spending'), 0)"
        " - coalesce((select sum(amount_minor) from debits where tenant_id = :id and reversed_at is null), 0)"
    )
    assert engine.databases.value(spent, id=shop.tenant_id) == 0
