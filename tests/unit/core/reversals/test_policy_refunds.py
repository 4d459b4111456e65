"""Refunds by a policy on the pure table: what is in suspense, what is the user's, and what a person can decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.decision import Decision, Transfer
from app.core.facts import Command, CommandKind, Fact, FactKind, Input, Movement, RefundState
from app.core.payment import Policy, Status
from app.core.refunds.records import NOT_MADE, RefundStatus
from app.core.refunds.suspense import list_undecided, read_suspense
from app.core.schedule import next_call
from app.core.state_machine import decide
from tests.unit.core.payment_simulation import NOW, PAYMENT, CaseRow, SimulatedPayment, case_id, take_step

PAID = replace(PAYMENT, amount_minor=100, provider_reference="A", policy=Policy(late="refund", over="refund"))
OUT = ("reversal", "refund", "suspense_refund", "suspense_reversal")


def came(minor: int, reference: str = "A", **more: object) -> Fact:
    return Fact(FactKind.SUCCEEDED, reference, amount_minor=minor, currency="USD", **more)  # type: ignore[arg-type]


def total(minor: int) -> Fact:
    return Fact(FactKind.REFUNDED, "A", amount_minor=minor, currency="USD")


def moved(kind: FactKind, name: str, minor: int) -> Fact:
    return Fact(kind, "A", amount_minor=minor, currency="USD", reversal_id=name)


def state(said: RefundState, named: str | None = None) -> Fact:
    """Return what became of the newest refund."""
    return Fact(FactKind.REFUND_STATE, reversal_id=named, refund_state=said)


FACTS: dict[str, Input] = {
    "60": came(60),
    "100": came(100),
    "130": came(130),
    "B 40": came(40, "B"),
    "declined": Fact(FactKind.DECLINED, "A"),
    "cancel": Command(CommandKind.CANCEL),
    "taken as re_1": state("processing", "re_1"),
    "done": state("completed"),
    "done as re_1": state("completed", "re_1"),
    "refused": state("failed"),
    "accept": Command(CommandKind.ACCEPT),
    "reject": Command(CommandKind.REJECT),
    "won": Fact(FactKind.DISPUTE, "A", dispute_id="d", dispute_state="won"),
    "disputed": Fact(FactKind.DISPUTE, "A", dispute_id="d", dispute_state="opened"),
}
IDS: dict[str, Input] = {
    "gone a 30": moved(FactKind.REVERSED, "a", 30),
    "gone b 100": moved(FactKind.REVERSED, "b", 100),
    "gone c 130": moved(FactKind.REVERSED, "c", 130),
    "gone re_1": moved(FactKind.REVERSED, "re_1", 30),
    "again a 30": moved(FactKind.REINSTATED, "a", 30),
    "again c 130": moved(FactKind.REINSTATED, "c", 130),
    "shown": came(130, movements=(Movement("reversed", "a", 30, "USD"),)),
}
TOTALS: dict[str, Input] = {"back 30": total(30), "back 50": total(50), "back 100": total(100), "back 130": total(130)}


def step(simulated: SimulatedPayment, name: str, given_: Input) -> tuple[SimulatedPayment, Decision] | None:
    """Take a step that the simulation has, or send, repeat or look up as workers and persons do."""
    payment = simulated.payment
    if name == "send":
        sent = tuple(replace(one, called_at=NOW) for one in payment.refunds)
        return replace(simulated, payment=replace(payment, refunds=sent)), decide(
            payment, Command(CommandKind.LOOK_UP), NOW
        )
    if name == "again":
        waiting = [case for case in simulated.open_cases if case.reason == "suspense"]
        return refund_again(simulated, waiting[0]) if waiting else None
    if given_.kind is FactKind.REFUND_STATE and isinstance(given_, Fact):
        if not payment.refunds:
            return None
        given_ = replace(given_, refund_id=payment.refunds[-1].id)
    if name.startswith("looked up"):
        given_ = replace(total(int(name.split()[-1])), asked_version=payment.version)
    return take_step(simulated, name, given_)


def refund_again(simulated: SimulatedPayment, case: CaseRow) -> tuple[SimulatedPayment, Decision]:
    money = (case.amount_minor, case.currency, case.reference)
    command = Command(CommandKind.REFUND_AGAIN, case_id(case), *money, case_key=case.key)
    decision = decide(simulated.payment, command, NOW)
    cases = simulated.cases
    if decision.payment is not simulated.payment:
        cases = tuple(replace(row, state="redriven") if row == case else row for row in cases)
    return replace(simulated, payment=decision.payment, cases=cases), decision


def signed(transfer: Transfer) -> int:
    return -transfer.amount_minor if transfer.type in OUT else transfer.amount_minor


def check(simulated: SimulatedPayment) -> None:
    payment, transfers = simulated.payment, simulated.transfers
    assert len({one.key for one in transfers}) == len(transfers), "each transfer once"
    of_suspense = [one for one in transfers if one.type.startswith("suspense")]
    held = sum(map(signed, of_suspense)) - sum(one.amount_minor for one in transfers if one.is_from_suspense)
    suspense = read_suspense(payment, "A", "USD")
    assert held == suspense.left_minor, "what is in suspense is what was booked there and did not leave it"
    users = [one for one in transfers if not one.type.startswith("suspense")]
    back = -sum(signed(one) for one in users if one.type != "deposit")
    assert back == payment.reversed_minor, "only what is the user's counts as reversed"
    assert bool(users) is (payment.status is Status.COMPLETED), "nothing of an ended payment is the user's"
    credited = sum(one.amount_minor for one in users if one.type == "deposit")
    reported = Counter[str | None]()
    for one in simulated.reported:
        reported[one.reference] = max(reported[one.reference], one.amount_minor)
    assert credited + suspense.booked_minor - suspense.credited_minor <= sum(reported.values()), (
        "nothing out of nothing"
    )
    waiting = [one for one in simulated.open_cases if one.reason == "suspense"]
    undecided = list_undecided(payment, "A", "USD") if suspense.idle_minor else []
    assert len(waiting) == bool(undecided), "one case while a person has to decide, else none"
    for case in waiting:
        assert 0 < (case.amount_minor or 0) <= suspense.idle_minor
    if any(one.is_unfinished for one in payment.refunds):
        call = next_call(payment, 0, NOW)
        assert call is not None
        assert call.action == "refund"


@pytest.mark.parametrize("facts", [IDS, TOTALS], ids=["ids", "totals"])
@pytest.mark.parametrize("policy", [("refund", "refund"), ("credit", "refund"), ("refund", "hold")])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_reported_each_part_stays_where_it_is(
    facts: dict[str, Input], policy: tuple[str, str], data: st.DataObject
) -> None:
    inputs = FACTS | facts | {"send": Command(CommandKind.LOOK_UP), "again": Command(CommandKind.REFUND_AGAIN)}
    if facts is TOTALS:
        inputs |= {f"looked up {minor}": total(minor) for minor in (0, 30, 130)}
    simulated = SimulatedPayment(replace(PAID, policy=Policy(late=policy[0], over=policy[1])))
    for name in data.draw(st.lists(st.sampled_from(sorted(inputs)), max_size=14)):
        taken = step(simulated, name, inputs[name])
        if taken is None:
            continue
        simulated = replace(taken[0], path=(*simulated.path, name))
        try:
            check(simulated)
        except AssertionError as broken:
            raise AssertionError(f"{broken} after {simulated.path}") from broken


def play(*names: str, late: str = "refund") -> SimulatedPayment:
    simulated = SimulatedPayment(replace(PAID, policy=Policy(late=late, over="refund")))
    for name in names:
        taken = step(simulated, name, (FACTS | IDS | TOTALS).get(name, Command(CommandKind.LOOK_UP)))
        assert taken is not None, name
        simulated = taken[0]
    return simulated


def entries(simulated: SimulatedPayment) -> list[tuple[str, int]]:
    return [(one.type, signed(one)) for one in simulated.transfers]


@pytest.mark.parametrize(
    "reports", [("done", "back 30"), ("back 30", "done"), ("back 30", "back 30"), ("done", "done")]
)
def test_answer_and_total_are_one_effect(reports: tuple[str, str]) -> None:
    after = play("130", "send", *reports)
    assert entries(after) == [("deposit", 100), ("suspense", 30), ("suspense_refund", -30)]
    assert (after.payment.reversed_minor, after.payment.exception) == (0, "overpaid")


@pytest.mark.parametrize("reports", [("done as re_1", "gone re_1"), ("gone re_1", "done as re_1")])
def test_answer_and_movement_are_one_effect(reports: tuple[str, str]) -> None:
    assert entries(play("130", "send", *reports)) == [("deposit", 100), ("suspense", 30), ("suspense_refund", -30)]


def test_a_chargeback_after_the_refund_was_sent_leaves_that_its_money() -> None:
    charged = play("130", "send", "taken as re_1", "gone b 100", "done as re_1")
    assert entries(charged)[2:] == [("reversal", -100), ("suspense_refund", -30)]
    # Of money that goes back twice nobody knows which was first: a person decides.
    twice = play("130", "send", "done as re_1", "gone c 130")
    assert entries(twice)[2:] == [("suspense_refund", -30)]
    assert [case.reason for case in twice.cases] == ["reversal"]


def test_what_a_provider_takes_back_is_no_refund_of_ours() -> None:
    after = play("130", "send", "done", "back 50")
    assert entries(after)[2:] == [("suspense_refund", -30), ("reversal", -20)]
    assert (after.payment.reversed_minor, "reversed" in after.payment.exceptions) == (20, True)


def test_a_chargeback_before_the_call_leaves_nothing_to_send() -> None:
    after = play("cancel", "100", "gone b 100")
    assert entries(after) == [("suspense", 100), ("suspense_reversal", -100)]
    (refund,) = after.payment.refunds
    assert (refund.status, after.payment.status, after.open_cases) == (RefundStatus.FAILED, Status.CANCELLED, [])


def test_what_was_refunded_at_last_is_not_sent_again() -> None:
    after = play("cancel", "100", "refused", "again", "send", "done")
    assert entries(after) == [("suspense", 100), ("suspense_refund", -100)]
    assert [(one.status, one.suspended_minor) for one in after.payment.refunds] == [
        (RefundStatus.FAILED, 100),
        (RefundStatus.COMPLETED, 0),
    ]
    assert after.payment.refunds[0].id != after.payment.refunds[1].id


def test_money_is_not_refunded_again_while_it_is_disputed() -> None:
    simulated = play("cancel", "100", "refused", "disputed")
    _, decision = refund_again(simulated, simulated.open_cases[0])
    assert (decision.payment, decision.reason) == (simulated.payment, "a dispute is open")


@pytest.mark.parametrize("later", [("accept",), ("again",), ("gone b 100",)])
def test_a_case_that_was_overtaken_is_not_accepted(later: tuple[str, ...]) -> None:
    before = play("cancel", "100", "refused")
    (case,) = before.open_cases
    after = play("cancel", "100", "refused", *later)
    money = (case.amount_minor, case.currency, case.reference)
    command = Command(CommandKind.ACCEPT, case_id(case), *money, case_key=case.key)
    assert decide(after.payment, command, NOW).payment is after.payment


def test_a_case_of_more_than_is_left_can_still_be_rejected() -> None:
    simulated = play("cancel", "100", "refused")
    (case,) = simulated.open_cases
    money = (101, case.currency, case.reference)
    accepted, rejected = (
        decide(simulated.payment, Command(kind, case_id(case), *money, case_key=case.key), NOW)
        for kind in (CommandKind.ACCEPT, CommandKind.REJECT)
    )
    assert accepted.payment is simulated.payment
    assert [one.credited_minor for one in rejected.payment.refunds] == [0]


def test_an_end_by_us_is_not_the_last_word_on_what_the_provider_did() -> None:
    simulated = play("130", "send")
    ended = decide(
        simulated.payment, replace(state("failed"), refund_id=simulated.payment.refunds[0].id, message=NOT_MADE), NOW
    )
    assert ended.case is not None
    gone = decide(ended.payment, moved(FactKind.REVERSED, str(simulated.payment.refunds[0].id), 30), NOW)
    assert gone.transfer is None
    assert gone.suspense is not None
    assert (gone.suspense.type, gone.case) == ("suspense_reversal", None)


def test_money_without_a_reference_is_held() -> None:
    payment = replace(PAID, provider_reference=None, status=Status.CANCELLED)
    late = decide(payment, Fact(FactKind.SUCCEEDED, amount_minor=100, currency="USD"), NOW)
    assert (late.case and late.case.reason, late.suspense) == ("late", None)
    over = decide(
        replace(payment, status=Status.PENDING), Fact(FactKind.SUCCEEDED, amount_minor=130, currency="USD"), NOW
    )
    assert (over.case and over.case.reason, over.suspense) == ("overpaid", None)


def test_a_decision_that_is_made_again_makes_the_same_refund() -> None:
    first, again = (decide(PAID, came(130), NOW) for _ in range(2))
    assert first.payment.refunds == again.payment.refunds
