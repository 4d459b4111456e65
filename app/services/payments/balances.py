"""Lock and track wallet balances, for tenants whose policy holds a reversal that would take a wallet below zero."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, select

from app.core.decision import Transfer
from app.core.facts import Fact, FactKind, Input
from app.core.payment import Payment
from app.core.reversals.following import has_following
from app.services.ledger.posting import Posting, UserKey
from app.services.payments.rows import LockedPayment
from models import prepared, read, tables
from models.array_params import rows_of
from models.sql import columns

# Minor units by wallet, kept up to date while a batch is decided.
Balances = dict[UserKey, int]

_WALLETS = tables.wallets
_OWNERS = rows_of(_WALLETS, "tenant_id", "user_id")
_BALANCES = prepared(
    select(*columns(_WALLETS, "tenant_id", "user_id", "currency", "balance_minor"))
    .where(
        _WALLETS.c.kind == "user", _WALLETS.c.tenant_id == _OWNERS.c.tenant_id, _WALLETS.c.user_id == _OWNERS.c.user_id
    )
    .order_by(_WALLETS.c.id)
    .with_for_update(key_share=True, of=_WALLETS)
)


def lock_balances(
    connection: Connection, given: Iterable[tuple[uuid.UUID, Input]], loaded: dict[uuid.UUID, LockedPayment]
) -> Balances | None:
    """Lock all wallets of the batch's users where a reversal may not take one below zero, and return the balances.

    All of them and in the order of their ids, so that the ledger's own locks later find nothing new to wait for.
    """
    held = [one for payment_id, one in given if payment_id in loaded and _may_be_held(one, loaded[payment_id].payment)]
    if not held:
        return None
    users = {(row.payment.tenant_id, row.payment.user_id) for row in loaded.values()}
    rows = read(connection, _BALANCES, _OWNERS.encode(list(users)))
    return {(row.tenant_id, row.user_id, row.currency): row.balance_minor for row in rows}


def _may_be_held(given: Input, payment: Payment) -> bool:
    if payment.policy.negative != "hold":
        return False
    if has_following(payment, given):
        return True
    return isinstance(given, Fact) and given.kind in (FactKind.REFUNDED, FactKind.REVERSED)


def with_balance(payment: Payment, given: Input, balances: Balances | None) -> Payment:
    """Return the payment with the balance of the wallet that a fact would change, as the batch has left it so far."""
    if balances is None or not isinstance(given, Fact) or given.currency is None:
        return payment
    key = (payment.tenant_id, payment.user_id, given.currency)
    return replace(payment, wallet_balance_minor=balances.get(key, 0))


def note_transfer(balances: Balances | None, payment: Payment, transfer: Transfer | None) -> None:
    """Add a decided transfer to the balances."""
    if balances is not None and transfer is not None:
        moved = Posting(payment, transfer)
        balances[moved.user_key] = balances.get(moved.user_key, 0) + moved.sign * transfer.amount_minor
