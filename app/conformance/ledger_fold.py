"""What facts do to one payment, by the state machine alone: no database is needed."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field, replace

from app.core.decision import Decision
from app.core.facts import Command, CommandKind, Fact
from app.core.money import format_amount
from app.core.payment import Payment, Status
from app.core.refunds.records import WantedRefund
from app.core.reversals.following import FollowUp, add_following, has_following, list_following
from app.core.state_machine import decide
from app.providers import Order, RefundSubject

_SOMEBODY = uuid.UUID(int=0)


@dataclass(slots=True)
class FoldedPayment:
    """A payment and what its decisions have posted.

    `credited_minor` is what its user has of it now, `aliases` are the other ids of the provider's that facts brought.
    """

    payment: Payment
    credited_minor: int = 0
    aliases: set[str] = field(default_factory=set)
    decisions: list[Decision] = field(default_factory=list)

    @classmethod
    def of(cls, order: Order) -> FoldedPayment:
        """Return the payment of an order, before anything is known of it."""
        asked = (order.amount_minor, order.currency)
        times = (order.created_at, order.created_at, order.expires_at)
        return cls(Payment(order.payment_id, _SOMEBODY, 1, "user", *asked, Status.PENDING, _SOMEBODY, *times))

    def ask_refund(self, subject: RefundSubject) -> None:
        """Decide a refund that a tenant asks for, and take it for sent."""
        now = datetime.datetime.now(datetime.UTC)
        wanted = WantedRefund(subject.refund_id, format_amount(subject.amount_minor, subject.currency))
        decision = decide(self.payment, Command(CommandKind.REFUND, refund=wanted), now)
        self.decisions.append(decision)
        sent = (replace(one, called_at=one.called_at or now) for one in decision.payment.refunds)
        self.payment = replace(decision.payment, refunds=tuple(sent))

    def expire(self) -> None:
        """Decide that the payment's time is up, at that moment."""
        decision = decide(self.payment, Command(CommandKind.EXPIRE), self.payment.expires_at)
        self.decisions.append(decision)
        self.payment = decision.payment

    def settle(self, fact: Fact) -> None:
        """Decide a fact, and what follows from it, as settlement does."""
        self.aliases |= {*fact.aliases, *((fact.reference,) if fact.reference else ())}
        queue = self._decide(fact, [])
        while queue:
            follow_up, *rest = queue
            queue = self._decide(follow_up.fact, rest)

    def _decide(self, fact: Fact, queue: list[FollowUp]) -> list[FollowUp]:
        before = self.payment
        decision = decide(self.payment, fact, datetime.datetime.now(datetime.UTC))
        self.decisions.append(decision)
        self.payment = decision.payment
        if decision.transfer:
            sign = -1 if decision.transfer.type in ("reversal", "refund") else 1
            self.credited_minor += sign * decision.transfer.amount_minor
        if not has_following(self.payment, fact):
            return queue
        return add_following(queue, list_following(before, fact, decision), self.payment)
