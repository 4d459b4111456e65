"""Random lives of money that goes back and forth: providers, shops and persons do whatever they may, in any order.

No model says what must come of it. After each step the payments that were touched are proved, at the end of a life all
books of its tenant; no step may raise anything but a refusal.
"""

from __future__ import annotations

import datetime
import hashlib
import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind, DisputeState, Fact, FactKind, Movement, RefundState
from app.core.payment import Payment
from app.runtime.runtime import Runtime
from app.services.debits import spending
from app.services.debits.spending import DebitRequest
from app.services.operators import redrive, resolve
from app.services.payments import refunds, settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.refunds import RefundRequest
from app.services.records import notifications
from app.services.tenants import policies
from app.services.verification import prove
from app.services.verification.walking import check_debits, check_payments
from app.services.webhooks import waiting_reversals
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop, make_shop

PAYMENTS_MAX = 4
ASKED = 2_500
# Parts of what was asked for, all of it and more than that, in minor units.
AMOUNTS = (1, 500, 1_000, 1_500, 2_000, 2_500, 2_501, 5_000)
REFERENCES = ("own", "own", "own", None, "other")
# Each reversal's id is of one cycle: the same amount whenever it is reported.
CYCLES = {"re_a": 500, "re_b": 1_000, "re_c": 2_500}


@dataclass
class MoneyLife:
    """One tenant's life from a seed; `steps` counts what was done, by its name and by whether it was refused."""

    runtime: Runtime
    databases: Databases
    seed: int
    steps: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.shop: Shop = make_shop(self.runtime)
        self.payments: list[uuid.UUID] = []
        self.debits: list[uuid.UUID] = []
        # An adapter reports either single movements or totals.
        self.has_totals = self.random.random() < 0.4
        policy = {
            "late_policy": self.random.choice(("credit", "hold", "refund", "refund")),
            "over_policy": self.random.choice(("credit", "hold", "refund", "refund")),
            "negative_policy": self.random.choice(("allow", "hold")),
        }
        policies.change_policy(self.runtime, self.shop.tenant_id, policy, ACTOR)

    def live(self, steps: int) -> None:
        """Take steps, prove what each touched, and at the end everything."""
        self._deposit()
        doing = [self._deposit, *[self._report] * 5, *[self._ask] * 2, *[self._answer] * 2, *[self._decide] * 3]
        doing += [self._find_difference, self._end, self._let_time_pass, self._spend, self._spend, self._give_back]
        for _ in range(steps):
            self._take(self.random.choice(doing))
            with self.runtime.database.snapshot("operator") as connection:
                broken = check_payments(connection, self.payments) + check_debits(connection, self.debits)
            assert broken == [], (self.seed, self.story, broken)
        notifications.number_due(self.runtime)
        report = prove(self.runtime.database, "full", self.shop.tenant_id)
        assert report.is_whole, (self.seed, self.story, report.as_json())

    def _take(self, step: Callable[[], str]) -> None:
        name = step.__name__.strip("_")
        try:
            said = step()
        except RequestRejected as refused:
            said = str(refused)
            name += " refused"
        except Exception as error:
            error.add_note(f"{name} of seed {self.seed} after {self.story}")
            raise
        self.steps[name] += 1
        self.story.append(f"{name}: {said}")

    def _deposit(self) -> str:
        if len(self.payments) < PAYMENTS_MAX:
            self.payments.append(self.shop.deposit(user_id=self.random.choice(("ann", "bob"))).id)
        return str(len(self.payments))

    # What a provider reports

    def _report(self) -> str:
        payment = self._pick()
        fact = self._fact(payment)
        self._settle(payment, fact)
        return f"{fact.kind} {fact.reference} {fact.amount_minor} {fact.currency} {fact.reversal_id or ''}"

    def _fact(self, payment: Payment) -> Fact:
        back = [FactKind.REFUNDED] if self.has_totals else [FactKind.REVERSED, FactKind.REVERSED, FactKind.REINSTATED]
        rare = [FactKind.DISPUTE, FactKind.DECLINED, FactKind.CANCELLED]
        kind = self.random.choice([FactKind.SUCCEEDED] * 4 + back * (6 // len(back)) + rare)
        reference = self._name(payment, self.random.choice(REFERENCES))
        money: dict[str, Any] = {
            "amount_minor": self.random.choice(AMOUNTS),
            "currency": self.random.choice(("USD", "USD", "USD", "USD", "EUR")),
        }
        if kind is FactKind.SUCCEEDED:
            return self._success(payment, reference, money)
        if kind in (FactKind.REVERSED, FactKind.REINSTATED):
            cycle = self.random.choice(sorted(CYCLES))
            money["amount_minor"] = CYCLES[cycle]
            return Fact(kind, reference, reversal_id=cycle, **money)
        if kind is FactKind.REFUNDED:
            asked = self.random.choice((None, payment.version))
            return Fact(kind, reference, asked_version=asked, **money)
        if kind is FactKind.DISPUTE:
            states: tuple[DisputeState, ...] = ("opened", "won", "lost")
            return Fact(kind, reference, dispute_id="dp_1", dispute_state=self.random.choice(states))
        return Fact(kind, reference)

    def _success(self, payment: Payment, reference: str | None, money: dict[str, Any]) -> Fact:
        if self.random.random() < 0.6:
            money = {"amount_minor": ASKED, "currency": "USD"}
        if self.random.random() < 0.5:
            return Fact(FactKind.SUCCEEDED, reference, **money)
        if self.has_totals:
            given_back = self.random.choice((0, 500, money["amount_minor"]))
            return Fact(
                FactKind.SUCCEEDED, reference, refunded_minor=given_back, asked_version=payment.version, **money
            )
        cycle = self.random.choice(sorted(CYCLES))
        movement = Movement("reversed", cycle, CYCLES[cycle], money["currency"])
        return Fact(FactKind.SUCCEEDED, reference, movements=(movement,), **money)

    # What a shop asks for, and what became of it

    def _ask(self) -> str:
        payment, amount = self._pick(), self.random.choice((None, "5.00", "10.00", "25.00"))
        reference = self._name(payment, self.random.choice(("own", None, None, "other")))
        key = self.random.randbytes(8).hex()
        body = hashlib.sha256(key.encode()).digest()
        request = RefundRequest(payment.id, amount, reference, None, key, body)
        made = refunds.ask_refund(self.runtime, self.shop.tenant_id, request, ACTOR)
        if self.random.random() < 0.8:
            self._send(uuid.UUID(made.refund["id"]))
        return f"{amount} of {reference}"

    def _send(self, refund_id: uuid.UUID) -> None:
        """Leave a refund as the claim of its call does."""
        self._rows("update refunds set called_at = now() where id = :refund", refund=refund_id)

    def _answer(self) -> str:
        found = self._rows("select id, payment_id from refunds where tenant_id = :id order by created_at, id")
        if not found:
            return "none"
        row = self.random.choice(found)
        if self.random.random() < 0.5:
            # Those that a policy makes are sent here.
            self._send(row["id"])
        states: tuple[RefundState, ...] = ("processing", "completed", "completed", "failed")
        state = self.random.choice(states)
        payment = self.shop.payment(row["payment_id"])
        named = f"rf_{row['id']}" if self.random.random() < 0.7 else None
        self._settle(payment, Fact(FactKind.REFUND_STATE, refund_id=row["id"], reversal_id=named, refund_state=state))
        return state

    def _spend(self) -> str:
        user, amount = self.random.choice(("ann", "bob")), self.random.choice(("1.00", "10.00", "25.00"))
        key = self.random.randbytes(8).hex()
        wanted = DebitRequest(user, amount, "USD", "an order", None, key, hashlib.sha256(key.encode()).digest())
        made = spending.take(self.runtime, self.shop.tenant_id, wanted, ACTOR)
        self.debits.append(uuid.UUID(made.debit["id"]))
        return f"{amount} of {user}"

    def _give_back(self) -> str:
        if not self.debits:
            return "nothing was spent"
        debit_id = self.random.choice(self.debits)
        spending.give_back(self.runtime, self.shop.tenant_id, debit_id, ACTOR, None)
        return str(self.debits.index(debit_id))

    # What persons decide

    def _decide(self) -> str:
        query = "select id, reason from dead_letters where tenant_id = :id and state = 'open' order by created_at, id"
        found = self._rows(query)
        if not found:
            return "nothing waits"
        letter = self.random.choice(found)
        act = self.random.choice((resolve.accept, resolve.accept, resolve.reject, redrive.redrive))
        act(self.runtime, self.shop.tenant_id, letter["id"], ACTOR)
        return f"{act.__name__} {letter['reason']}"

    def _find_difference(self) -> str:
        """Open a case as reconciliation does, about some of what was credited."""
        payment = self._pick()
        if payment.received_minor is None:
            return "nothing came"
        minor = self.random.choice((-payment.received_minor, -500, 500))
        self._rows(
            "insert into dead_letters (id, tenant_id, kind, reason, detail, payment_id, provider_id, amount_minor,"
            " currency, case_key) values (:letter, :id, 'reconciliation', :reason, 'differs', :payment, :provider,"
            " :minor, :currency, :reason || ':' || :letter)",
            letter=uuid.UUID(bytes=self.random.randbytes(16), version=4),
            reason=self.random.choice(("amount", "state", "movement")),
            payment=payment.id,
            provider=self.shop.provider_id,
            minor=minor,
            currency=payment.received_currency,
        )
        return f"{minor} {payment.received_currency}"

    # What the clock and a user do

    def _end(self) -> str:
        payment, kind = self._pick(), self.random.choice((CommandKind.CANCEL, CommandKind.EXPIRE))
        self._settle(payment, Command(kind))
        return kind

    def _let_time_pass(self) -> str:
        """End the monitoring windows of what waits."""
        ago = datetime.timedelta(days=2)
        moved = "update payment_transactions set expires_at = expires_at - :ago where tenant_id = :id"
        self._rows(moved, ago=ago)
        for table in ("waiting_reversals", "payment_movements"):
            self._rows(f"update {table} set due_at = now() where tenant_id = :id and due_at is not null")
        waiting_reversals.end_waiting(self.runtime)
        return "two days"

    def _pick(self) -> Payment:
        return self.shop.payment(self.random.choice(self.payments))

    def _name(self, payment: Payment, reference: str | None) -> str | None:
        return reference and f"{reference}_{payment.id}"

    def _settle(self, payment: Payment, given: Fact | Command) -> None:
        actor = f"provider:{self.shop.provider_id}"
        with settlement.open(self.runtime, "clerk", self.shop.tenant_id) as batch:
            batch.settle([Item(payment.tenant_id, payment.id, given, actor, self.shop.provider_id)])

    def _rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        return self.databases.rows(query, id=self.shop.tenant_id, **values)
