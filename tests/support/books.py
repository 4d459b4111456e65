"""Busy books: every kind of thing that happens to payments, done through the services on a real database."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text

from app.core.facts import Fact, FactKind, RefundState
from app.core.payment import Payment
from app.runtime.runtime import Runtime
from app.services.debits import spending
from app.services.debits.spending import DebitRequest
from app.services.operators import resolve
from app.services.operators.dead_letters import DeadLetterFilters, list_dead_letters
from app.services.payments import queries, refunds, settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.refunds import RefundRequest
from app.services.records import notifications
from app.services.tenants import policies
from app.services.webhooks import settle as settling
from models import Database
from models.database import Role
from testbed.servers import Databases
from testbed.shop import Shop


class Spoiled(Database):
    """A database as it would be after some statements of a superuser, in a transaction that is never committed.

    All that is read through it is read in that transaction, as the role that is asked for.
    """

    def __init__(self, connection: Connection, engine: Engine) -> None:
        self.engine = engine
        self._connection = connection

    @contextlib.contextmanager
    def transaction(self, role: Role, tenant_id: uuid.UUID | None = None) -> Iterator[Connection]:
        """Give the one transaction as `role`."""
        self._take_role(role, tenant_id)
        yield self._connection

    @contextlib.contextmanager
    def snapshot(self, role: Role) -> Iterator[Connection]:
        """Give the one transaction as `role`."""
        self._take_role(role, None)
        yield self._connection

    def _take_role(self, role: Role, tenant_id: uuid.UUID | None) -> None:
        taken = "select set_config('role', :role, true), set_config('app.tenant', :tenant, true)"
        self._connection.execute(text(taken), {"role": f"sluice_{role}", "tenant": str(tenant_id or "")})


@contextlib.contextmanager
def spoil(database: Database, statements: list[str]) -> Iterator[Spoiled]:
    """Provide a superuser's `database` after `statements`, which neither triggers nor foreign keys stop."""
    with database.engine.connect() as connection:
        for statement in ["set local session_replication_role = replica", *statements]:
            connection.exec_driver_sql(statement)
        yield Spoiled(connection, database.engine)
        connection.rollback()


def settle(runtime: Runtime) -> None:
    """Settle and number all that is due now."""
    settling.settle_due(runtime)
    notifications.number_due(runtime)


def name_reference(payment: Payment) -> str:
    """Return the provider's reference for a payment that `complete` pays."""
    return f"ref_{payment.id.hex[-12:]}"


def complete(shop: Shop, payment: Payment, webhook_id: str | None = None, **changes: object) -> bytes:
    """Deliver a success for `payment`, which is not settled yet, and return its bytes."""
    body = shop.body(payment, provider_reference=name_reference(payment), **changes)
    shop.deliver(body, webhook_id=webhook_id)
    return body


def accept(databases: Databases, shop: Shop, payment: Payment) -> None:
    """Accept the open case of `payment`."""
    case = databases.value("select id from dead_letters where payment_id = :id and state = 'open'", id=payment.id)
    resolve.accept(shop.runtime, shop.tenant_id, case, "operator:test")


def make_refunds(shop: Shop) -> None:
    """Make a refund that is under way, one that is completed and one that failed after it was completed."""
    reports: tuple[tuple[RefundState, ...], ...] = ((), ("completed",), ("completed", "failed"))
    for number, states in enumerate(reports):
        payment = shop.deposit("10.00", user_id="user-0")
        complete(shop, payment)
        settle(shop.runtime)
        wanted = RefundRequest(payment.id, "1.00", None, None, f"refund-{number}", bytes(32))
        made = refunds.ask_refund(shop.runtime, shop.tenant_id, wanted, "operator:test")
        for state in states:
            fact = Fact(FactKind.REFUND_STATE, refund_id=uuid.UUID(made.refund["id"]), refund_state=state)
            with settlement.open(shop.runtime, "worker") as batch:
                batch.settle([Item(shop.tenant_id, payment.id, fact, "system")])
    settle(shop.runtime)


def make_policy_refunds(shop: Shop) -> None:
    """Make refunds of excess money: one under way, one completed, one that failed, one that failed and was credited."""
    policies.change_policy(shop.runtime, shop.tenant_id, {"over_policy": "refund"}, "operator:test")
    reports: tuple[tuple[RefundState, ...], ...] = ((), ("completed",), ("failed",), ("completed", "failed"))
    for states in reports:
        payment = shop.deposit("10.00", user_id="user-0")
        complete(shop, payment, amount="11.00")
        settle(shop.runtime)
        for state in states:
            (refund,) = refunds.list_refunds(shop.runtime.database, shop.tenant_id, payment.id, "web")
            fact = Fact(FactKind.REFUND_STATE, refund_id=uuid.UUID(refund["id"]), refund_state=state)
            with settlement.open(shop.runtime, "worker") as batch:
                batch.settle([Item(shop.tenant_id, payment.id, fact, "system")])
    waiting = DeadLetterFilters(shop.tenant_id, reason="suspense")
    for letter in list_dead_letters(shop.runtime.database, waiting, 1):
        resolve.accept(shop.runtime, shop.tenant_id, uuid.UUID(letter["id"]), "operator:test")
    policies.change_policy(shop.runtime, shop.tenant_id, {"over_policy": "hold"}, "operator:test")
    settle(shop.runtime)


def make_debits(shop: Shop) -> None:
    """Make a debit, and one that is reversed, of a user whose wallet has ten."""
    complete(shop, shop.deposit("10.00", user_id="user-0"))
    settle(shop.runtime)
    for number in range(2):
        wanted = DebitRequest("user-0", "2.00", "USD", "order-1", None, f"debit-{number}", bytes(32))
        made = spending.take(shop.runtime, shop.tenant_id, wanted, "operator:test")
        if number:
            spending.give_back(shop.runtime, shop.tenant_id, uuid.UUID(made.debit["id"]), "operator:test", "cancelled")


def make_busy(databases: Databases, shop: Shop, users: int = 3) -> dict[str, Payment]:
    """Make payments that went every way there is, for each of some users; return one of each kind."""
    runtime, made = shop.runtime, {}
    for number in range(users):
        made = {
            kind: shop.deposit(f"{number + 1}0.00", user_id=f"user-{number}")
            for kind in (
                "open",
                "paid",
                "doubled",
                "failed",
                "cancelled",
                "late",
                "refunded",
                "under",
                "twice",
                "conflict",
            )
        }
        for kind in ("paid", "refunded", "twice"):
            complete(shop, made[kind])
        body = complete(shop, made["doubled"], f"msg-doubled-{number}")
        shop.deliver(body, webhook_id=f"msg-doubled-{number}")
        complete(shop, made["conflict"], f"msg-conflict-{number}")
        shop.deliver(shop.body(made["conflict"], status="failed"), webhook_id=f"msg-conflict-{number}")
        shop.deliver(shop.body(made["failed"], "failed", error_message="no money"))
        complete(shop, made["under"], amount="1.00")
        queries.cancel_payment(runtime, shop.caller, made["cancelled"].id)
        queries.cancel_payment(runtime, shop.caller, made["late"].id)
        settle(runtime)
        complete(shop, made["late"])
        shop.deliver_refund(made["refunded"], provider_reference=name_reference(made["refunded"]))
        shop.deliver(shop.body(made["twice"], provider_reference="another", amount="7.00"))
        # Verified, but of no use: it contradicts itself, or is about a payment that is not there.
        shop.deliver(shop.body(made["open"], event_type="payment.failed"))
        shop.deliver(shop.body(made["open"], transaction_id=str(uuid.uuid4())))
        settle(runtime)
        accept(databases, shop, made["under"])
        accept(databases, shop, made["twice"])
    for _ in range(5):
        databases.rows("update webhook_work set due_at = now(), leased_until = null")
        settle(runtime)
    return made
