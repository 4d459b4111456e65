"""The state machine keeps its rules on every sequence of facts and commands (tests/unit/core/payment_simulation.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core import state_machine
from app.core.decision import Decision, Verdict
from app.core.facts import CommandKind, Fact, FactKind, Input
from app.core.money_events import SECOND_MONEY
from app.core.payment import EDGES, REVERSAL_WAITING, Policy, Status
from app.core.state_machine import COMMANDS, FACTS
from tests.unit.core.payment_simulation import (
    ALPHABET,
    ASKED,
    NOW,
    POLICIES,
    STEPS_MAX,
    ReportedMoney,
    SimulatedPayment,
    walk,
)


def check_versions(before: SimulatedPayment, given: Input, after: SimulatedPayment, decision: Decision) -> None:
    """Check that a step that changes what is stored, or moves money, gives the next version; edges are kept."""
    old, new = before.payment, after.payment
    is_changed = replace(old, has_open_case=False, other_references=(), version=0, updated_at=NOW) != replace(
        new, has_open_case=False, other_references=(), version=0, updated_at=NOW
    )
    assert (new.version > old.version) is (is_changed or decision.transfer is not None)
    # What waited for the decision is decided as steps of its own.
    assert new.version - old.version <= 1 + len(old.reversals_waiting)
    assert old.status is new.status or (old.status, new.status) in EDGES
    assert (new.completed_at is not None) is (new.status is Status.COMPLETED)
    for name in ("amount_minor", "currency", "user_id", "created_at", "expires_at"):
        assert getattr(old, name) == getattr(new, name)
    # Accepting another reference's money takes that reference over.
    is_accepted = given.kind is CommandKind.ACCEPT
    for name in ("redirect_url",) if is_accepted else ("provider_reference", "redirect_url"):
        assert getattr(old, name) in (None, getattr(new, name))


def check_credits(before: SimulatedPayment, given: Input, after: SimulatedPayment, decision: Decision) -> None:
    """Completed is credited and credited is completed; nothing is credited twice or out of nothing."""
    keys = [row.key for row in after.transfers]
    assert len(keys) == len(set(keys))
    deposits = [row for row in after.transfers if row.type == "deposit"]
    assert bool(deposits) is (after.payment.status is Status.COMPLETED)
    own = after.payment.provider_reference
    for currency in ("USD", "EUR"):
        totals: dict[str | None, int] = {}
        for report in after.reported:
            if report.currency == currency:
                whose = report.reference or own
                totals[whose] = max(totals.get(whose, 0), report.amount_minor)
        assert after.credited(currency) <= sum(totals.values())
    own_currency = after.payment.received_currency
    assert after.reversed(own_currency) == after.payment.reversed_minor
    for currency in ("USD", "EUR"):
        assert after.reversed(currency) <= after.credited(currency)
    if len(after.transfers) > len(before.transfers):
        assert decision.verdict is Verdict.APPLIED
        assert decision.notification in ("payment.completed", "payment.reversed")


def check_money_is_kept(before: SimulatedPayment, given: Input, after: SimulatedPayment, decision: Decision) -> None:
    """Check that a success is or was credited, or has a dead letter with the amount to accept."""
    if not isinstance(given, Fact) or given.kind is not FactKind.SUCCEEDED:
        return
    assert decision.verdict is not Verdict.IGNORED
    known = (given.amount_minor, given.currency)
    credited = {(row.amount_minor, row.currency) for row in after.transfers if row.type == "deposit"}
    if decision.verdict is Verdict.DUPLICATE:
        total = after.payment.received_minor or 0, after.payment.received_currency
        # Totals only grow, so an earlier one that comes late says nothing new.
        # A case's key ends with the total it was opened for; its amount may be only what came on top.
        named = {
            (int(minor), unit) for minor, unit in (case.key.split(":")[-2:] for case in after.cases if case.currency)
        }
        assert any(unit == known[1] and (known[0] or 0) <= minor for minor, unit in credited | named | {total})
    elif decision.verdict is Verdict.APPLIED:
        assert known in credited
    else:
        assert decision.case is not None
        assert decision.case.key in {case.key for case in after.cases}


def check_matching_success(before: SimulatedPayment, given: Input, after: SimulatedPayment, decision: Decision) -> None:
    """Check that a success as asked completes the payment in every state, and that a late one is marked late."""
    if given not in (ALPHABET["success"], ALPHABET["success without reference"]):
        return
    assert isinstance(given, Fact)
    old, new, policy = before.payment, after.payment, before.payment.policy
    if given.reference and old.provider_reference not in (None, given.reference):
        return
    ended = old.status in (Status.FAILED, Status.CANCELLED)
    if ended and policy.late != "credit":
        assert new.status is old.status
        assert any(case.currency == "USD" and (case.amount_minor or 0) >= ASKED for case in after.cases)
        return
    assert new.status is Status.COMPLETED
    assert ("late" in new.exceptions) >= ended


def check_reversals(before: SimulatedPayment, given: Input, after: SimulatedPayment, decision: Decision) -> None:
    """Check that a refund is booked as soon as so much is credited, in either order; the rest waits."""
    payment = after.payment
    waiting = {ReportedMoney(one.reference, one.amount_minor, one.currency) for one in payment.reversals_waiting}
    assert waiting <= after.given_back
    assert bool(waiting) is (REVERSAL_WAITING in payment.exceptions)
    booked = {currency: after.reversed(currency) for currency in ("USD", "EUR")}
    if payment.status is not Status.COMPLETED:
        assert (booked, waiting) == ({"USD": 0, "EUR": 0}, after.given_back)
        return
    # Nothing but the payment's own reference is given back in this simulation.
    for currency in ("USD", "EUR"):
        totals = {one.amount_minor for one in after.given_back if one.currency == currency}
        own = own_credit(after, currency)
        assert booked[currency] == max((total for total in totals if total <= own), default=0)
        assert {one.amount_minor for one in waiting if one.currency == currency} == {
            total for total in totals if total > own
        }


def check_attempts(before: SimulatedPayment, given: Input, after: SimulatedPayment, decision: Decision) -> None:
    """Check that a declined attempt leaves an open payment as it was but for its error, and an ended one entirely."""
    if given.kind is FactKind.ATTEMPT_DECLINED:
        # What is read of cases is the simulation's own.
        old, new = (replace(one.payment, has_open_case=False, other_references=()) for one in (before, after))
        noted = replace(old, version=new.version, updated_at=new.updated_at, last_attempt_error="no cover")
        assert new == (noted if old.is_open else old)
        assert (decision.case, decision.transfer, decision.notification, decision.alert) == (None, None, None, None)


def own_credit(simulated: SimulatedPayment, currency: str) -> int:
    """Return what was credited under the payment's own reference, which refunds name in this simulation."""
    payment = simulated.payment
    is_own = payment.provider_reference in (None, "A")
    if is_own and currency == payment.received_currency:
        return payment.received_minor or 0
    accepted = [row for row in simulated.cases if row.state == "accept" and row.reason in SECOND_MONEY]
    return sum(row.amount_minor or 0 for row in accepted if (row.reference, row.currency) == ("A", currency))


CHECKS = (check_versions, check_credits, check_money_is_kept, check_matching_success, check_reversals, check_attempts)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_sequence_keeps_every_rule(policy: Policy) -> None:
    steps = 0
    # A policy differs from the plain one in a single answer, which shorter sequences reach from every side.
    length = STEPS_MAX if policy == POLICIES["default"] else STEPS_MAX - 1
    for before, name, given, after, decision in walk(policy, length):
        steps += 1
        for check in CHECKS:
            try:
                check(before, given, after, decision)
            except AssertionError as broken:
                raise AssertionError(f"{check.__doc__} Broken by {' > '.join([*before.path, name])}") from broken
    # The walk saw something: there are hundreds of states even under the plainest policy.
    assert steps > 2_000


# Each of them is a slip that a change of the table could make; the walk has to notice it.
SLIPS: dict[str, tuple[tuple[Status, FactKind | CommandKind], str]] = {
    "late money is dropped": ((Status.CANCELLED, FactKind.SUCCEEDED), "ignore"),
    "a second success credits again": ((Status.COMPLETED, FactKind.SUCCEEDED), "first success"),
    "a decline ends a completed payment": ((Status.COMPLETED, FactKind.DECLINED), "decline"),
    "a declined attempt ends the payment": ((Status.PROCESSING, FactKind.ATTEMPT_DECLINED), "decline"),
    "a late answer starts a cancelled payment again": ((Status.CANCELLED, FactKind.ACCEPTED), "start"),
    "a cancel ends a completed payment": ((Status.COMPLETED, CommandKind.CANCEL), "cancel"),
    "a refund of nothing is booked": ((Status.FAILED, FactKind.REFUNDED), "reverse"),
    "a success only starts the payment": ((Status.PENDING, FactKind.SUCCEEDED), "start"),
}


@pytest.mark.parametrize(("place", "deed"), SLIPS.values(), ids=SLIPS)
def test_the_walk_notices_a_slip_in_the_table(
    monkeypatch: pytest.MonkeyPatch, place: tuple[Status, FactKind | CommandKind], deed: str
) -> None:
    wrong = {
        "ignore": FACTS[Status.PENDING, FactKind.NOT_FOUND],
        "first success": FACTS[Status.PENDING, FactKind.SUCCEEDED],
        "decline": FACTS[Status.PENDING, FactKind.DECLINED],
        "start": FACTS[Status.PENDING, FactKind.ACCEPTED],
        "cancel": COMMANDS[Status.PENDING, CommandKind.CANCEL],
        "reverse": FACTS[Status.COMPLETED, FactKind.REFUNDED],
    }[deed]
    table = "FACTS" if isinstance(place[1], FactKind) else "COMMANDS"
    monkeypatch.setitem(getattr(state_machine, table), place, wrong)
    with pytest.raises(AssertionError, match="Broken by"):
        test_every_sequence_keeps_every_rule(POLICIES["default"])
