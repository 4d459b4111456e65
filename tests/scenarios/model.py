"""The expected results of deposits, as a second and simple implementation: the model that the services must match.

One tenant with the default policy: late money is credited, too much is held, a wallet may go below zero.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

OWN, OTHER = "own", "other"
# Whether the money came in addition to the asked money; its reference, total and currency.
Reported = tuple[bool, str, int, str]


@dataclass
class ModelPayment:
    """`waiting` holds what a person may accept, by reference and currency: (reported total, minor units).

    `given_back` are the totals that the provider said it gave back, `booked` what was booked of them.
    """

    user: str
    asked: int
    currency: str
    status: str = "pending"
    received: int | None = None
    received_currency: str | None = None
    reversed: int = 0
    waiting: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    given_back: set[tuple[str, str, int]] = field(default_factory=set)
    booked: Counter[tuple[str, str]] = field(default_factory=Counter)
    closed: set[Reported] = field(default_factory=set)
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def is_open(self) -> bool:
        return self.status in ("pending", "processing")


@dataclass
class Model:
    """All payments of a tenant, its wallets, and the facts that are taken and not settled yet."""

    payments: list[ModelPayment] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    wallets: Counter[tuple[str, str]] = field(default_factory=Counter)
    credits: int = 0
    reversals: int = 0
    inbox: list[tuple[int, str, str, int, str]] = field(default_factory=list)

    def settle(self) -> None:
        """Apply what was taken, in its order."""
        for number, fact, reference, amount, currency in self.inbox:
            self.apply(self.payments[number], fact, reference, amount, currency)
        self.inbox.clear()

    def apply(self, payment: ModelPayment, fact: str, reference: str, amount: int, currency: str) -> None:
        """Apply one fact."""
        if fact == "success" and payment.status == "completed":
            self._more_money(payment, reference, amount, currency)
        elif fact == "success":
            self._money(payment, amount, currency)
        elif fact == "refund":
            self.give_back(payment, reference, amount, currency)
        elif fact in ("failed", "cancelled") and payment.is_open and not payment.waiting:
            payment.status = fact

    def _money(self, payment: ModelPayment, amount: int, currency: str) -> None:
        if (amount, currency) == (payment.asked, payment.currency):
            payment.waiting.clear()
            self._complete(payment, amount, currency)
            return
        if currency == payment.received_currency and amount <= (payment.received or 0):
            return
        payment.received, payment.received_currency = amount, currency
        payment.waiting.clear()
        if (False, OWN, amount, currency) not in payment.closed:
            payment.waiting[OWN, currency] = (amount, amount)

    def _complete(self, payment: ModelPayment, amount: int, currency: str) -> None:
        payment.status, payment.received, payment.received_currency = "completed", amount, currency
        self._credit(payment, amount, currency)

    def _credit(self, payment: ModelPayment, amount: int, currency: str) -> None:
        self.wallets[payment.user, currency] += amount
        self.credits += 1
        self.book(payment)

    def _more_money(self, payment: ModelPayment, reference: str, amount: int, currency: str) -> None:
        is_own = reference == OWN and currency == payment.received_currency
        known = payment.received if is_own else payment.accepted[reference, currency]
        extra = amount - (known or 0)
        waits = payment.waiting.get((reference, currency), (0, 0))[1]
        if extra <= waits:
            return
        payment.waiting.pop((reference, currency), None)
        if (True, reference, amount, currency) not in payment.closed:
            payment.waiting[reference, currency] = (amount, extra)

    def give_back(self, payment: ModelPayment, reference: str, amount: int, currency: str) -> None:
        """Books a total that the provider gave back, or keeps it until so much is credited."""
        payment.given_back.add((reference, currency, amount))
        self.book(payment)

    def book(self, payment: ModelPayment) -> None:
        """Books what was given back of what is credited, the smaller totals first."""
        for reference, currency, total in sorted(payment.given_back if payment.status == "completed" else ()):
            is_own = reference == OWN and currency == payment.received_currency
            credited = (payment.received or 0) if is_own else payment.accepted[reference, currency]
            known = payment.booked[reference, currency]
            if known < total <= credited:
                self.wallets[payment.user, currency] -= total - known
                self.reversals += 1
                payment.booked[reference, currency] = total
        payment.reversed = payment.booked[OWN, payment.received_currency or ""]

    def cancel(self, payment: ModelPayment) -> bool:
        """Cancel; return whether that could be done."""
        if payment.is_open:
            payment.status = "cancelled"
            return True
        return False

    def expire(self, number: int) -> None:
        """End a payment whose time is up, unless money of it or a webhook waits."""
        payment = self.payments[number]
        is_awaited = any(waiting[0] == number for waiting in self.inbox)
        if payment.is_open and not payment.waiting and not is_awaited:
            payment.status = "cancelled"

    def decide(self, payment: ModelPayment, reference: str, currency: str, is_accepted: bool) -> None:
        """Close what waits under a reference in a currency, with or without a credit."""
        total, amount = payment.waiting.pop((reference, currency))
        # What was rejected in place of the asked money is asked about once more where it comes on top of that.
        is_other = payment.status == "completed"
        payment.closed.add((is_other, reference, total, currency))
        if not is_accepted:
            return
        if payment.status != "completed":
            self._complete(payment, amount, currency)
            return
        if reference == OWN and currency == payment.received_currency:
            payment.received = (payment.received or 0) + amount
        else:
            payment.accepted[reference, currency] += amount
        self._credit(payment, amount, currency)

    def pending(self) -> Counter[tuple[str, str]]:
        """Return the sums of open payments by user and currency."""
        held: Counter[tuple[str, str]] = Counter()
        for payment in self.payments:
            if payment.is_open:
                held[payment.user, payment.currency] += payment.asked
        return held
