"""Payments as the decision table moves them, with the dead letters and credits that belong to them.

Every sequence of facts and commands is walked, none is drawn at random. Of worlds that agree in all that a rule reads,
only one is continued, so that the walk reaches much longer sequences.
"""

from __future__ import annotations

import datetime
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from app.core.decision import Decision, Transfer, money_of
from app.core.facts import Command, CommandKind, Fact, FactKind, Input
from app.core.money_events import SECOND_MONEY
from app.core.payment import OtherReference, Payment, Policy, Status
from app.core.reversals.following import add_following, list_following
from app.core.state_machine import decide

NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
ASKED = 2500
PAYMENT = Payment(
    id=uuid.UUID(int=1),
    tenant_id=uuid.UUID(int=2),
    version=1,
    user_id="ann",
    amount_minor=ASKED,
    currency="USD",
    status=Status.PENDING,
    provider_id=uuid.UUID(int=3),
    created_at=NOW - datetime.timedelta(hours=1),
    updated_at=NOW - datetime.timedelta(hours=1),
    # Its time is up, so that a command to expire it acts.
    expires_at=NOW - datetime.timedelta(minutes=1),
)


def success(amount_minor: int = ASKED, currency: str = "USD", reference: str | None = "A") -> Fact:
    return Fact(FactKind.SUCCEEDED, reference, amount_minor=amount_minor, currency=currency)


ACCEPT, REJECT = Command(CommandKind.ACCEPT), Command(CommandKind.REJECT)
ALPHABET: dict[str, Input] = {
    "accepted": Fact(FactKind.ACCEPTED, "A", "https://pay.example/A"),
    "pending": Fact(FactKind.PENDING, "A", "https://pay.example/A"),
    "not found": Fact(FactKind.NOT_FOUND),
    "success": success(),
    "success without reference": success(reference=None),
    "success, lower": success(1000),
    "success, higher": success(3000),
    "success, other currency": success(currency="EUR"),
    "success, other reference": success(reference="B"),
    "attempt declined": Fact(FactKind.ATTEMPT_DECLINED, message="no cover"),
    "declined": Fact(FactKind.DECLINED, "A", message="no cover"),
    "cancelled": Fact(FactKind.CANCELLED, "A"),
    "refunded in part": Fact(FactKind.REFUNDED, "A", amount_minor=1000, currency="USD"),
    "refunded": Fact(FactKind.REFUNDED, "A", amount_minor=ASKED, currency="USD"),
    "cancel": Command(CommandKind.CANCEL),
    "expire": Command(CommandKind.EXPIRE),
    "accept": ACCEPT,
    "reject": REJECT,
}
POLICIES = {
    "default": Policy(),
    "tolerant": Policy(tolerance_percent=Decimal(60)),
    "late held": Policy(late="hold"),
    "late rejected": Policy(late="reject"),
    "over credited": Policy(over="credit"),
    "over rejected": Policy(over="reject"),
}
# What the rules are about: a money fact, an end, a case, its answer, a repeat. One more costs minutes.
STEPS_MAX = 5


@dataclass(frozen=True)
class CaseRow:
    """A dead letter about money as the table of them holds it."""

    key: str
    reference: str | None
    amount_minor: int | None
    currency: str | None
    state: str = "open"
    reason: str = ""


class ReportedMoney(NamedTuple):
    """A total that the provider said it received."""

    reference: str | None
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class SimulatedPayment:
    """A payment, the dead letters and the credits of it, and all the money that was ever reported, or given back."""

    payment: Payment = PAYMENT
    cases: tuple[CaseRow, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    reported: frozenset[ReportedMoney] = frozenset()
    given_back: frozenset[ReportedMoney] = frozenset()
    path: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Return all that a rule reads; the number of steps and their times are no part of it."""
        payment = self.payment
        seen = (payment.status, payment.exceptions, payment.provider_reference, payment.redirect_url)
        money = (payment.received_minor, payment.received_currency, payment.reversed_minor)
        rest = (payment.failure_reason, payment.session_closed, payment.reversals_waiting, self.of_policies)
        return (*seen, *money, *rest, self.cases, self.transfers, self.reported, self.given_back)

    @property
    def of_policies(self) -> tuple[tuple[object, ...], ...]:
        """Return what a rule reads of refunds by a policy; their ids follow from versions, which are no part of it."""
        refunds = self.payment.refunds
        return tuple((one.status, one.amount_minor, one.suspended_minor, one.credited_minor) for one in refunds)

    @property
    def open_cases(self) -> list[CaseRow]:
        return [case for case in self.cases if case.state == "open" and case.amount_minor is not None]

    def credited(self, currency: str) -> int:
        return sum(row.amount_minor for row in self.transfers if row.type == "deposit" and row.currency == currency)

    def reversed(self, currency: str | None) -> int:
        return sum(row.amount_minor for row in self.transfers if row.type == "reversal" and row.currency == currency)


def take_step(simulated: SimulatedPayment, name: str, given: Input) -> tuple[SimulatedPayment, Decision] | None:
    """Do what `app.services.payments.settlement` does with the decision; None where the step cannot be taken here."""
    if isinstance(given, Command) and given.kind in (CommandKind.ACCEPT, CommandKind.REJECT):
        if not simulated.open_cases:
            return None
        case = simulated.open_cases[0]
        money = {"amount_minor": case.amount_minor, "currency": case.currency, "reference": case.reference}
        money |= {"case_key": case.key}
        given = replace(given, case_id=case_id(case), **money)  # type: ignore[arg-type]
        # Closed first, as by `app.services.operators.resolve`: the cases read with the payment are those still open.
        closed = (replace(row, state=str(given.kind)) if row == case else row for row in simulated.cases)
        simulated = replace(simulated, cases=tuple(closed))
    payment = replace(
        simulated.payment,
        has_open_case=bool(simulated.open_cases),
        other_references=money_of_other_references(simulated),
    )
    after, decision = take_decision(simulated, payment, name, given)
    queue = list_following(payment, given, decision)
    while queue:
        follow_up, *queue = queue
        before = replace(after.payment, other_references=money_of_other_references(after))
        after, followed = take_decision(after, before, "", follow_up.fact)
        queue = add_following(queue, list_following(before, follow_up.fact, followed), after.payment)
    return replace(after, path=(*simulated.path, name)), decision


def take_decision(
    simulated: SimulatedPayment, payment: Payment, name: str, given: Input
) -> tuple[SimulatedPayment, Decision]:
    """Return the payment after one decision, and the decision."""
    decision = decide(payment, given, NOW)
    cases = list(simulated.cases)
    if decision.supersedes and isinstance(given, Fact):
        reference = given.reference or payment.provider_reference
        cases = [superseded(case, reference, decision.supersedes, decision.supersedes_keys) for case in cases]
    if decision.case and not decision.case.is_rejected:
        # The same case reported again is open again, unless a person has closed it.
        key = decision.case.key
        again = {"state": "open", "amount_minor": decision.case.amount_minor}
        cases = [replace(row, **again) if (row.key, row.state) == (key, "superseded") else row for row in cases]  # type: ignore[arg-type]
    if decision.case and decision.case.key not in {case.key for case in cases}:
        new = decision.case
        state = "rejected" if new.is_rejected else "open"
        cases.append(CaseRow(new.key, new.reference, new.amount_minor, new.currency, state, new.reason))
    transfers = simulated.transfers
    transfers += tuple(moved for moved in (decision.transfer, decision.suspense) if moved)
    reported = simulated.reported
    if isinstance(given, Fact) and given.kind is FactKind.SUCCEEDED:
        reported |= {ReportedMoney(given.reference or payment.provider_reference, *money_of(given))}
    given_back = simulated.given_back
    if isinstance(given, Fact) and given.kind is FactKind.REFUNDED:
        given_back |= {ReportedMoney(given.reference, *money_of(given))}
    path = (*simulated.path, name)
    return SimulatedPayment(decision.payment, tuple(cases), transfers, reported, given_back, path), decision


def money_of_other_references(simulated: SimulatedPayment) -> tuple[OtherReference, ...]:
    """Return what `app.services.payments.settlement` reads of the dead letters for a payment in `conflict`."""
    found: dict[tuple[str | None, str], OtherReference] = {}
    for row in simulated.cases if "conflict" in simulated.payment.exceptions else ():
        if row.reason in SECOND_MONEY and row.amount_minor is not None and row.currency:
            one = found.get((row.reference, row.currency), OtherReference(row.reference, row.currency))
            accepted = row.amount_minor if row.state == "accept" else 0
            waiting = row.amount_minor if row.state == "open" else 0
            booked = f"reversal:{row.reference}:{row.currency}:"
            found[row.reference, row.currency] = replace(
                one,
                accepted_minor=one.accepted_minor + accepted,
                waiting_minor=max(one.waiting_minor, waiting),
                reversed_minor=sum(moved.amount_minor for moved in simulated.transfers if moved.key.startswith(booked)),
            )
    return tuple(found.values())


def case_id(case: CaseRow) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, case.key)


def superseded(
    case: CaseRow, reference: str | None, reasons: frozenset[str], keys: frozenset[str] | None = None
) -> CaseRow:
    fits = case.reference is None or reference is None or case.reference == reference
    fits = fits and case.reason in reasons and (keys is None or case.key in keys)
    return replace(case, state="superseded") if case.state == "open" and fits else case


def walk(
    policy: Policy, steps: int = STEPS_MAX
) -> Iterator[tuple[SimulatedPayment, str, Input, SimulatedPayment, Decision]]:
    """Yield every step of every sequence, once for all states that no rule can distinguish."""
    level = [SimulatedPayment(replace(PAYMENT, policy=policy))]
    seen = {level[0].key}
    for _ in range(steps):
        found: list[SimulatedPayment] = []
        for simulated, (name, given) in itertools.product(level, ALPHABET.items()):
            taken = take_step(simulated, name, given)
            if taken is None:
                continue
            after, decision = taken
            yield simulated, name, given, after, decision
            if after.key not in seen:
                seen.add(after.key)
                found.append(after)
        level = found


def play(*names: str, policy: Policy = POLICIES["default"]) -> tuple[SimulatedPayment, Decision]:
    simulated = SimulatedPayment(replace(PAYMENT, policy=policy))
    for name in names:
        taken = take_step(simulated, name, ALPHABET[name])
        assert taken is not None, f"{name} cannot be done after {simulated.path}"
        simulated, decision = taken
    return simulated, decision
