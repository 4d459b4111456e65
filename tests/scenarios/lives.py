"""Random lives of deposits: what people and the provider do to the services and to the model."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind, Fact, FactKind
from app.core.money import format_amount, parse_amount
from app.services.operators import redrive, resolve
from app.services.payments import queries, settlement
from app.services.payments.batch_decisions import Item
from app.services.webhooks import settle as settling
from testbed.shop import ACTOR
from tests.scenarios.model import OTHER, OWN, ModelPayment
from tests.scenarios.model_comparison import ModelComparison

# The currency in which strange money comes.
CURRENCIES = {"USD": "EUR", "JPY": "USD"}
EVENTS = {"success": "payment.success", "failed": "payment.failed", "cancelled": "payment.cancelled"}

# Totals around what was asked for: less, the same, more, much more.
FACTORS = st.sampled_from((0.4, 0.4, 1, 1, 1, 1.2, 2))
PICKS = st.integers(0, 5)


class Lives(ModelComparison):
    """Each rule does a thing to the services and to the model."""

    # What is asked for here

    @rule(
        key=st.sampled_from("abcdef"),
        user=st.sampled_from(("ann", "bob")),
        amount=st.sampled_from(("25", "10")),
        currency=st.sampled_from(sorted(CURRENCIES)),
    )
    def deposit(self, key: str, user: str, amount: str, currency: str) -> None:
        """Make a payment with a new key, or repeat one: the same body finds it, another is refused."""
        wanted = ModelPayment(user, parse_amount(amount, currency), currency)
        number = self.model.keys.get(key)
        sha256 = hashlib.sha256(f"{user} {amount} {currency}".encode()).digest()

        def ask() -> uuid.UUID:
            return self.shop.deposit(amount, currency, user, key, request_sha256=sha256).id

        if number is None:
            self.ids.append(ask())
            self.model.keys[key] = len(self.model.payments)
            self.model.payments.append(wanted)
            return
        first = self.model.payments[number]
        if (first.user, first.asked, first.currency) == (wanted.user, wanted.asked, wanted.currency):
            assert ask() == self.ids[number]
            return
        with pytest.raises(RequestRejected) as refused:
            ask()
        assert refused.value.status == 422

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        """Cancel a payment as its user."""
        number = pick % len(self.ids)
        if self.model.cancel(self.model.payments[number]):
            queries.cancel_payment(self.runtime, self.shop.caller, self.ids[number])
            return
        with pytest.raises(RequestRejected) as refused:
            queries.cancel_payment(self.runtime, self.shop.caller, self.ids[number])
        assert refused.value.status == 409

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS)
    def expire(self, pick: int) -> None:
        """Its time is up."""
        number = pick % len(self.ids)
        self.rows("update payment_transactions set expires_at = now() where id = :payment", payment=self.ids[number])
        self.settle_item(number, Command(CommandKind.EXPIRE))
        self.model.expire(number)

    # What a provider says

    @precondition(lambda self: self.ids)
    @rule(
        pick=PICKS,
        status=st.sampled_from(("success", "success", "success", "failed", "cancelled", "refund")),
        factor=FACTORS,
        is_foreign=st.booleans(),
        copies=st.integers(1, 2),
    )
    def deliver(self, pick: int, status: str, factor: float, is_foreign: bool, copies: int) -> None:
        """Deliver a signed webhook once or twice; `settle` settles it."""
        number = pick % len(self.ids)
        reported = self.report(number, status, factor, is_foreign)
        body, path = self.body(number, *reported)
        webhook_id = "msg_" + uuid.uuid4().hex
        receipts = [self.shop.deliver(body, path, webhook_id) for _ in range(copies)]
        assert [receipt.is_duplicate for receipt in receipts] == [False, True][:copies]
        self.model.inbox.append((number, *reported))

    @precondition(lambda self: self.model.inbox)
    @rule()
    def settle(self) -> None:
        """Settle all waiting webhooks in one set."""
        settling.settle_due(self.runtime)
        self.model.settle()

    @precondition(lambda self: self.ids)
    @rule(
        pick=PICKS,
        status=st.sampled_from(("success", "failed", "cancelled", "pending")),
        factor=FACTORS,
        given_back=st.sampled_from((0, 0, 0.4, 1)),
    )
    def poll(self, pick: int, status: str, factor: float, given_back: float) -> None:
        """Poll the provider, and settle its answer."""
        number = pick % len(self.ids)
        reported = self.report(number, status, factor, is_foreign=False)
        kind = {
            "success": FactKind.SUCCEEDED,
            "failed": FactKind.DECLINED,
            "cancelled": FactKind.CANCELLED,
            "pending": FactKind.PENDING,
        }[status]
        _, reference, amount, currency = reported
        fact = Fact(kind, self.name(number, reference))
        if status == "success":
            fact = replace(fact, amount_minor=amount, currency=currency, refunded_minor=int(amount * given_back))
        self.settle_item(number, fact)
        payment = self.model.payments[number]
        if status == "pending" and payment.status == "pending":
            payment.status = "processing"
        self.model.apply(payment, *reported)
        if fact.refunded_minor:
            # An answer may report money and a refund at once: the money comes first, then totals that waited for it,
            # then the answer's own total; what is beyond the credit waits.
            payment.given_back.add((reference, currency, fact.refunded_minor))
        self.model.book(payment)

    # What a person decides

    @precondition(lambda self: any(payment.waiting for payment in self.model.payments))
    @rule(pick=PICKS, is_accepted=st.booleans())
    def decide(self, pick: int, is_accepted: bool) -> None:
        """Accept or reject money that waits, as an operator; a repeat is refused."""
        waiting = [(number, each) for number, payment in enumerate(self.model.payments) for each in payment.waiting]
        number, (reference, currency) = waiting[pick % len(waiting)]
        (case,) = self.rows(
            "select id from dead_letters where payment_id = :payment and state = 'open' and amount_minor is not null"
            " and case_reference = :reference and currency = :currency",
            payment=self.ids[number],
            reference=self.name(number, reference),
            currency=currency,
        )
        act = resolve.accept if is_accepted else resolve.reject
        act(self.runtime, self.shop.tenant_id, case["id"], ACTOR)
        with pytest.raises(RequestRejected):
            act(self.runtime, self.shop.tenant_id, case["id"], ACTOR)
        self.model.decide(self.model.payments[number], reference, currency, is_accepted)

    @precondition(lambda self: self.ids and not self.model.inbox)
    @rule(pick=PICKS)
    def replay(self, pick: int) -> None:
        """Settle a webhook once more, as an operator: the provider reports the same again."""
        query = "select id, body from payment_webhooks where tenant_id = :id order by received_at, id"
        webhooks = self.rows(query)
        if not webhooks:
            return
        webhook = webhooks[pick % len(webhooks)]
        redrive.replay_webhook(self.runtime, self.shop.tenant_id, webhook["id"], ACTOR)
        self.rows("update webhook_work set due_at = now(), leased_until = null where tenant_id = :id")
        self.model.inbox.append(self.read(json.loads(bytes(webhook["body"]))))

    # How they say it

    def report(self, number: int, status: str, factor: float, is_foreign: bool) -> tuple[str, str, int, str]:
        """Return the report: the fact, the reference, minor units and currency.

        Strange money is another currency before the payment is completed, another reference afterwards.
        """
        payment = self.model.payments[number]
        is_completed = payment.status == "completed" or any(
            waiting[0] == number and waiting[1] == "success" for waiting in self.model.inbox
        )
        is_strange = is_foreign and status == "success"
        currency = CURRENCIES[payment.currency] if is_strange and not is_completed else payment.currency
        if is_completed and payment.received_currency:
            currency = payment.received_currency
        is_other = is_strange and payment.status == "completed"
        return status, OTHER if is_other else OWN, int(payment.asked * factor), currency

    def body(self, number: int, status: str, reference: str, amount: int, currency: str) -> tuple[bytes, str]:
        """Return the webhook's body and path."""
        fields: dict[str, Any] = {
            "provider_id": str(self.shop.provider_id),
            "event_type": EVENTS.get(status, "payment.refunded"),
            "status": status if status in EVENTS else "refunded",
            "transaction_id": str(self.ids[number]),
            "provider_reference": self.name(number, reference),
            "amount": format_amount(amount, currency),
            "currency": currency,
        }
        return json.dumps(fields).encode(), "payment-callback" if status in EVENTS else "provider"

    def read(self, fields: dict[str, Any]) -> tuple[int, str, str, int, str]:
        """Return number, status, reference, total and currency of a webhook's body."""
        status = fields["status"] if fields["status"] in EVENTS else "refund"
        _, reference, number = fields["provider_reference"].split("_")
        return int(number), status, reference, parse_amount(fields["amount"], fields["currency"]), fields["currency"]

    def settle_item(self, number: int, given: Fact | Command) -> None:
        """Settle one fact or command as a provider call does."""
        with settlement.open(self.runtime, "worker") as batch:
            batch.settle([Item(self.shop.tenant_id, self.ids[number], given, "system")])
