"""Refunds of ours on the pure table: whatever reports their end, in whatever order, each has one effect."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.decision import Verdict
from app.core.facts import Command, CommandKind, Fact, FactKind, Input, Movement, RefundState
from app.core.payment import Payment
from app.core.refunds.records import RefundStatus, WantedRefund
from app.core.reversals.following import add_following, list_following
from app.core.state_machine import decide
from tests.unit.core.payment_simulation import NOW, PAYMENT, success

IDS = [uuid.UUID(int=number) for number in range(10, 13)]


def settle(payment: Payment, *given_: Input) -> tuple[Payment, list[tuple[str, int]]]:
    """Return the payment after facts and what follows from them, and the signed transfers."""
    moved: list[tuple[str, int]] = []
    for one in given_:
        queue: list[Input] = [one]
        while queue:
            now, *rest = queue
            before = payment
            decision = decide(before, now, NOW)
            payment = decision.payment
            if decision.transfer is not None:
                sign = 1 if decision.transfer.type in ("deposit", "reinstatement") else -1
                moved.append((decision.transfer.key, sign * decision.transfer.amount_minor))
            follow_ups = list_following(before, now, decision)
            queue = [each.fact for each in add_following((), follow_ups, payment)] + rest
    return payment, moved


def ask(number: int, amount: str | None = "10.00") -> Command:
    return Command(CommandKind.REFUND, refund=WantedRefund(IDS[number], amount))


def state(number: int, said: RefundState, named: str | None = None) -> Fact:
    return Fact(FactKind.REFUND_STATE, refund_id=IDS[number], refund_state=said, reversal_id=named)


def total(minor: int) -> Fact:
    return Fact(FactKind.REFUNDED, "A", amount_minor=minor, currency="USD")


def back(reversal_id: str, kind: FactKind = FactKind.REVERSED, minor: int = 1000) -> Fact:
    return Fact(kind, "A", amount_minor=minor, currency="USD", reversal_id=reversal_id)


def sent(payment: Payment) -> Payment:
    """Return the payment with its refunds sent to the provider, as a claim does."""
    return replace(payment, refunds=tuple(replace(one, called_at=NOW) for one in payment.refunds))


def asked(*numbers: int) -> Payment:
    payment, _ = settle(PAYMENT, success(), *(ask(number) for number in numbers))
    return payment


def statuses(payment: Payment) -> list[RefundStatus]:
    return [one.status for one in payment.refunds]


def test_no_more_is_asked_for_than_is_left() -> None:
    payment = asked(0, 1)
    assert decide(payment, ask(2), NOW).verdict is Verdict.IGNORED
    rest = decide(payment, ask(2, None), NOW).payment
    assert [one.amount_minor for one in rest.refunds] == [1000, 1000, 500]
    assert decide(payment, ask(2, "5.00"), NOW).verdict is Verdict.APPLIED


COMPLETED = {
    "answer": state(0, "completed", "re_1"),
    "answer in two steps": state(0, "processing", "re_1"),
    "total": total(1000),
    "our id": back(str(IDS[0])),
    "its id": back("re_1"),
}


@pytest.mark.parametrize("orders", [("answer", "total", "our id", "its id"), ("its id", "our id", "total", "answer")])
def test_reports_of_all_channels_are_one_effect(orders: Sequence[str]) -> None:
    payment, moved = settle(sent(asked(0)), *(COMPLETED[name] for name in orders))
    assert (statuses(payment), payment.reversed_minor, payment.exception) == ([RefundStatus.COMPLETED], 1000, None)
    assert moved == [(f"refund:{IDS[0]}", -1000)]


def test_a_report_waits_while_an_answer_is_outstanding() -> None:
    waiting, moved = settle(sent(asked(0)), back("re_9"))
    assert (moved, waiting.reversed_minor) == ([], 0)
    ours, moved = settle(waiting, state(0, "completed", "re_9"))
    assert (moved, ours.exception) == ([(f"refund:{IDS[0]}", -1000)], None)
    foreign, moved = settle(waiting, state(0, "completed", "re_1"))
    assert sorted(moved) == [(f"refund:{IDS[0]}", -1000), ("reversed:re_9", -1000)]
    assert foreign.exception == "reversed"


def test_a_movement_may_name_its_refund_while_the_answer_is_outstanding() -> None:
    named = replace(back("re_9"), refund_id=IDS[0])
    payment, moved = settle(sent(asked(0)), named)
    assert (moved, statuses(payment)) == ([(f"refund:{IDS[0]}", -1000)], [RefundStatus.COMPLETED])
    assert (payment.refunds[0].provider_reference, payment.exception) == ("re_9", None)
    payment, moved = settle(payment, state(0, "processing", "re_9"), named)
    assert (moved, statuses(payment)) == ([], [RefundStatus.COMPLETED])
    again = replace(back("re_9", FactKind.REINSTATED), refund_id=IDS[0])
    payment, moved = settle(payment, again, again)
    assert (moved, statuses(payment)) == ([(f"refund_failed:{IDS[0]}", 1000)], [RefundStatus.FAILED])
    # The id of something else names no refund.
    foreign, moved = settle(payment, replace(back("re_8"), refund_id=PAYMENT.id))
    assert (moved, foreign.exception) == ([("reversed:re_8", -1000)], "reversed")


def test_failed_after_completed_comes_again_once() -> None:
    payment = sent(asked(0))
    for failures in (
        [state(0, "failed")],
        [back("re_1", FactKind.REINSTATED)],
        [state(0, "failed"), state(0, "failed")],
    ):
        after, moved = settle(payment, state(0, "completed", "re_1"), *failures, state(0, "completed", "re_1"))
        assert (statuses(after), after.reversed_minor, after.exception) == ([RefundStatus.FAILED], 0, None)
        assert moved == [(f"refund:{IDS[0]}", -1000), (f"refund_failed:{IDS[0]}", 1000)]


def test_a_refund_that_was_not_sent_ends_with_a_reversal_in_its_place() -> None:
    payment, moved = settle(asked(0, 1), total(1500))
    assert statuses(payment) == [RefundStatus.PENDING, RefundStatus.FAILED]
    assert moved == [("reversal:1500", -1500)]


@pytest.mark.parametrize("is_sent", [True, False])
def test_the_same_total_after_a_failure_is_another_transfer(is_sent: bool) -> None:
    payment = sent(asked(0)) if is_sent else asked(0)
    payment, first = settle(payment, state(0, "completed", "re_0"), total(1500), state(0, "failed"))
    asked_now = replace(total(1500), asked_version=payment.version)
    payment, again = settle(payment, asked_now)
    assert [minor for _, minor in (*first, *again)] == [-1000, -500, 1000, -1000]
    assert len({key for key, _ in (*first, *again)}) == 4
    assert payment.reversed_minor == 1500


def test_what_a_person_rejected_and_the_provider_made_is_a_reversal() -> None:
    reject = Command(CommandKind.DISCARD, case_key=f"refund:{IDS[0]}")
    payment, moved = settle(sent(asked(0)), reject)
    assert (statuses(payment), moved) == ([RefundStatus.FAILED], [])
    late = decide(payment, state(0, "completed", "re_0"), NOW)
    assert (late.verdict, late.asks, late.transfer) == (Verdict.IGNORED, True, None)
    for report in (back("re_0"), back(str(IDS[0])), replace(total(1000), asked_version=payment.version)):
        after, moved = settle(payment, report)
        assert ([minor for _, minor in moved], after.exception) == ([-1000], "reversed")


@pytest.mark.parametrize("order", [1, -1])
def test_a_refund_that_failed_before_it_was_done_moves_nothing(order: int) -> None:
    """Providers report both steps of a refund that failed, whether it had been done or not."""
    shown = [Movement(kind, "re_0", 1000, "USD") for kind in ("reversed", "reinstated")][::order]
    looked_up = Fact(FactKind.SUCCEEDED, "A", amount_minor=2500, currency="USD", movements=tuple(shown))
    for facts in ((state(0, "processing", "re_0"), looked_up), (looked_up, state(0, "processing", "re_0"))):
        payment, moved = settle(sent(asked(0)), *facts)
        assert (statuses(payment), moved, payment.exception) == ([RefundStatus.FAILED], [], None)


STATES = [state(number, said, f"re_{number}") for number in (0, 1) for said in ("processing", "completed", "failed")]
STEPS = [back(f"re_{number}", kind) for number in (0, 1, 9) for kind in (FactKind.REVERSED, FactKind.REINSTATED)]
# An adapter reports totals or single steps; the other form only has the provider asked.
FACTS = st.sampled_from([[*STATES, *map(total, (1000, 1500, 2000, 2500))], [*STATES, *STEPS]]).flatmap(
    lambda form: st.lists(st.sampled_from(form), max_size=8)
)


@given(FACTS, st.booleans())
def test_never_more_goes_back_than_came_and_the_sums_agree(facts: list[Fact], is_sent: bool) -> None:
    payment = asked(0, 1)
    payment, moved = settle(sent(payment) if is_sent else payment, *facts)
    assert 0 <= payment.reversed_minor <= 2500
    assert -sum(minor for _, minor in moved) == payment.reversed_minor
    assert len({key for key, _ in moved}) == len(moved)
    own = sum(one.moved_minor for one in payment.refunds)
    assert ("reversed" in payment.exceptions) == (payment.reversed_minor > own)
