"""A provider that reports money that goes back and comes again in single steps with ids, and a payment at it."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.core.facts import DisputeReport, DisputeState, Fact, FactKind, Movement, MovementKind
from app.core.payment import Payment
from app.providers import Account, Delivered, Event, Listed, Name, Subject, Told
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators.reconciliation import ReconciliationReport
from app.services.verification import prove
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.engine import Engine


class SingleReversals(SandboxAdapter):
    """The sandbox, with `shown` as the movements of each payment in its answers and its list, and with `disputes`."""

    capabilities = replace(SandboxAdapter.capabilities, reversals="ids")

    def __init__(self, *about: Any) -> None:
        """Start without movements."""
        super().__init__(*about)
        self.shown: dict[uuid.UUID, list[Movement]] = {}
        self.disputes: dict[uuid.UUID, DisputeReport] = {}

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Return the sandbox's state with the movements."""
        return self._with_movements(subject.payment_id, super().fetch(account, subject))

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the sandbox's rows with the movements."""
        for row in super().list_payments(account, created_after, created_before):
            yield row if row.payment_id is None else replace(row, fact=self._with_movements(row.payment_id, row.fact))

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return our id."""
        return uuid.UUID(body["about"])

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return the facts of a body as `SingleScene.webhook` writes it."""
        body = delivered.read_object()
        return [Told(uuid.UUID(body["about"]), _read_fact(**fact)) for fact in body["facts"]]

    def _with_movements(self, payment_id: uuid.UUID, fact: Fact) -> Fact:
        if fact.kind is not FactKind.SUCCEEDED:
            return fact
        disputes = (self.disputes[payment_id],) if payment_id in self.disputes else ()
        return replace(fact, refunded_minor=None, movements=tuple(self.shown.get(payment_id, ())), disputes=disputes)


def _read_fact(kind: str, evidence_due_at: str | None = None, **fields: Any) -> Fact:
    due_at = evidence_due_at and datetime.datetime.fromisoformat(evidence_due_at)
    return Fact(FactKind(kind), evidence_due_at=due_at or None, **fields)


@dataclass
class SingleScene:
    """One payment of 25.00 USD at such a provider, whose page was opened."""

    front: Stack
    engine: Engine
    shop: Shop
    adapter: SingleReversals
    payment: Payment = field(init=False)

    def __post_init__(self) -> None:
        """Open the payment; the sandbox sends no webhooks of its own."""
        made = self.shop.deposit()
        self.front.sandbox.script(match={"merchant_reference": str(made.id)}, webhook={"send": []})
        self.engine.call()
        self.payment = self.shop.payment(made.id)

    def webhook(self, kind: str, **fields: Any) -> uuid.UUID:
        """Deliver one fact and settle it; return the webhook's id."""
        about = {"about": str(self.payment.id), "facts": [{"kind": kind, **fields}]}
        receipt = self.shop.deliver(json.dumps(about).encode(), "provider")
        self.engine.settle()
        return receipt.webhook_id

    def success(self, minor: int = 2500) -> None:
        """Deliver the success."""
        self.webhook("succeeded", amount_minor=minor, currency="USD", reference=self.payment.provider_reference)

    def moved(self, kind: str, reversal_id: str, minor: int, currency: str = "USD", **more: Any) -> uuid.UUID:
        """Deliver a single movement."""
        return self.webhook(kind, reversal_id=reversal_id, amount_minor=minor, currency=currency, **more)

    def show(self, kind: MovementKind, reversal_id: str, minor: int, currency: str = "USD") -> None:
        """Let the provider show a movement in its answers and its list from now on."""
        movement = Movement(kind, reversal_id, minor, currency)
        self.adapter.shown.setdefault(self.payment.id, []).append(movement)

    def show_dispute(self, state: DisputeState, reason: str | None = None) -> None:
        """Let the provider show the dispute `dp_1` in its answers and its list from now on."""
        self.adapter.disputes[self.payment.id] = DisputeReport("dp_1", state, reason)

    def pay(self) -> None:
        """Let the payer pay at the provider."""
        self.front.sandbox.act(str(self.payment.provider_reference), "pay")

    def poll(self) -> None:
        """Ask the provider, whatever the state of the payment."""
        self.engine.poll(self.payment.id)

    def answer(self) -> None:
        """Make the first call again, whose answer was lost."""
        self.engine.repeat_create(self.payment.id)

    def list(self) -> ReconciliationReport:
        """Compare with the provider's list."""
        return self.engine.reconcile(self.shop)

    @property
    def shown_payment(self) -> Payment:
        """The payment as the API shows it."""
        return self.shop.payment(self.payment.id)

    @property
    def balance(self) -> int:
        """What the payment has left in the user's wallet, in minor units."""
        return sum(minor for kind, minor in self.engine.entries(self.payment.id) if kind == "user")

    @property
    def posted(self) -> list[tuple[str, int]]:
        """(type, minor units) of the entries in the user's wallet, sorted."""
        return self.engine.posted(self.payment.id)

    def prove(self) -> None:
        """Check the books of the tenant."""
        self.engine.number()
        report = prove(self.shop.runtime.database, "full", self.shop.tenant_id)
        assert report.is_whole, report.as_json()


def open_scene(front: Stack, shop: Shop) -> SingleScene:
    """Return a payment whose provider is known to the shop's runtime and to its workers."""
    adapter = SingleReversals(frozenset(shop.runtime.settings.private_providers))
    runtime = replace(shop.runtime)
    runtime.adapters["sandbox"] = adapter
    return SingleScene(front, Engine(runtime, front.databases), replace(shop, runtime=runtime), adapter)
