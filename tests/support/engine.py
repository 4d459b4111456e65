"""Drives the work of the workers in this process, step by step, against the real database and the real provider."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from app.core.payment import Payment
from app.runtime.runtime import Runtime
from app.services.operators import reconciliation
from app.services.operators.reconciliation import ReconciliationReport
from app.services.payments.calls import set_aside
from app.services.payments.calls.call_dispatcher import Dispatcher
from app.services.payments.calls.call_settlement import settle_answers
from app.services.payments.calls.provider_calls import make_call
from app.services.payments.calls.provider_claims import Claim, claim_calls
from app.services.queues.dispatcher import UnderWay
from app.services.records import notifications
from app.services.upkeep import sweep
from app.services.webhooks import settle as settling
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop
from testbed.waiting import wait_until


@dataclass(frozen=True)
class Engine:
    """What the workers do, done when a test says so; nothing else works on `databases` meanwhile."""

    runtime: Runtime
    databases: Databases

    def settle(self) -> None:
        """Settle webhooks that are due."""
        settling.settle_due(self.runtime)

    def call(self, at_once: int = 1) -> None:
        """Make provider calls that are due, one after the other or several at once."""
        Dispatcher(at_once).run(self.runtime)

    def number(self) -> None:
        """Assign numbers to notifications that wait."""
        notifications.number_due(self.runtime)

    def sweep(self) -> None:
        """Ring for what is due."""
        sweep.sweep(self.runtime)

    def run_until(self, condition: Callable[[], object], what: str) -> None:
        """Do all work that becomes due until the condition holds."""

        def look() -> object:
            self.call()
            self.settle()
            return condition()

        wait_until(look, what)

    def start(self, shop: Shop, **deposit: object) -> Payment:
        """Make a deposit and the provider call for it; the payment is then what the provider made of it."""
        made = shop.deposit(**deposit)  # type: ignore[arg-type]
        self.call()
        return shop.payment(made.id)

    def postpone_others(self, provider_id: uuid.UUID) -> None:
        """Let no call of another provider be due within the hour, so that claims find this one's alone."""
        self.databases.rows(
            "update payment_work set due_at = now() + interval '1 hour' where provider_id <> :id", id=provider_id
        )

    def make_due(self, payment_id: uuid.UUID) -> None:
        """Let the payment's next provider call be due now, and free it from a claim that is gone."""
        self.databases.rows(
            "update payment_work set due_at = now(), claim_id = null where payment_id = :id", id=payment_id
        )

    def ask(self, payment_id: uuid.UUID) -> None:
        """Make the payment's next provider call now."""
        self.make_due(payment_id)
        self.call()

    def poll(self, payment_id: uuid.UUID) -> None:
        """Ask the provider about the payment now, whatever its state."""
        self._call_now(payment_id, "poll")

    def repeat_create(self, payment_id: uuid.UUID) -> None:
        """Make the payment's first call again, as when its answer was lost: with the same key and bytes."""
        self._call_now(payment_id, "create")

    def _call_now(self, payment_id: uuid.UUID, action: str) -> None:
        self.databases.rows(
            "insert into payment_work (payment_id, tenant_id, provider_id, action, due_at)"
            " select id, tenant_id, provider_id, :action, now() from payment_transactions where id = :id"
            " on conflict (payment_id) do update set action = :action, due_at = now(), claim_id = null",
            id=payment_id,
            action=action,
        )
        self.call()

    def reconcile(self, shop: Shop, provider_id: uuid.UUID | None = None) -> ReconciliationReport:
        """Compare the last hour with the provider's list."""
        now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
        return reconciliation.reconcile(shop.runtime, provider_id or shop.provider_id, now - hour, now + hour, ACTOR)

    def expire(self, payment_id: uuid.UUID) -> None:
        """Let the payment's time be up, without doing anything about it yet."""
        self.databases.rows(
            "update payment_transactions set expires_at = now() - interval '1 second' where id = :id", id=payment_id
        )
        self.make_due(payment_id)

    def make_webhooks_due(self) -> None:
        """Let every waiting webhook be due now, as when its wait or its dead worker's lease is over."""
        self.databases.rows("update webhook_work set due_at = now() - interval '1 second', leased_until = null")

    def action(self, payment_id: uuid.UUID) -> str | None:
        """Return the provider call that comes next, None where none does."""
        rows = self.databases.rows("select action from payment_work where payment_id = :id", id=payment_id)
        return rows[0]["action"] if rows else None

    def entries(self, payment_id: uuid.UUID) -> list[tuple[str, int]]:
        """Return (wallet kind, signed minor units) of the payment's entries."""
        rows = self.databases.rows(
            "select w.kind, e.direction * e.amount_minor as minor from wallet_transactions e"
            " join wallets w on w.id = e.wallet_id where e.payment_id = :id order by e.at, w.kind desc, e.id",
            id=payment_id,
        )
        return [(row["kind"], row["minor"]) for row in rows]

    def posted(self, payment_id: uuid.UUID) -> list[tuple[str, int]]:
        """Return (type, minor units) of the payment's entries in its user's wallet, sorted."""
        rows = self.databases.rows(
            "select e.type, e.amount_minor from wallet_transactions e join wallets w on w.id = e.wallet_id"
            " where e.payment_id = :id and w.kind = 'user'",
            id=payment_id,
        )
        return sorted((row["type"], row["amount_minor"]) for row in rows)

    def dead_letters(self, payment_id: uuid.UUID) -> list[tuple[str, str]]:
        """Return (reason, state) of the payment's dead letters."""
        rows = self.databases.rows(
            "select reason, state from dead_letters where payment_id = :id order by created_at, id", id=payment_id
        )
        return [(row["reason"], row["state"]) for row in rows]

    def verdicts(self, payment_id: uuid.UUID) -> list[tuple[str, str | None]]:
        """Return (status, verdict) of the webhooks that named the payment, in the order of their arrival."""
        rows = self.databases.rows(
            "select status, verdict from payment_webhooks where payment_id = :id order by received_at, id",
            id=payment_id,
        )
        return [(row["status"], row["verdict"]) for row in rows]


def claim_call(runtime: Runtime) -> Claim | None:
    """Claim one due call; those that cannot be made are set aside. Return None where none may be claimed."""
    while True:
        claims = claim_calls(runtime, 1, UnderWay(16))
        for call, error in claims.unready:
            set_aside.set_aside(runtime, call, error)
        if claims.calls or not claims.unready:
            return claims.calls[0] if claims.calls else None


def call_and_settle(runtime: Runtime, claim: Claim) -> None:
    """Make a claimed call and settle its answer."""
    answer = make_call(runtime, claim)
    if answer is not None:
        settle_answers(runtime, [answer])
