"""The step between a payer's approval and the money (app/core/capture.py), in every state and order of arrival."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace

import pytest

from app.core.capture import CAPTURE_IN_FLIGHT
from app.core.decision import Decision, Verdict
from app.core.errors import InvariantBroken
from app.core.facts import Command, CommandKind, Fact, FactKind, Input
from app.core.payment import OPEN, Payment, Policy, Status
from app.core.schedule import DueCall, next_call, query_now
from app.core.state_machine import decide
from tests.unit.core.payment_simulation import NOW, PAYMENT, success

HOURS = datetime.timedelta(hours=3)
MINUTE = datetime.timedelta(minutes=1)
APPROVED = Fact(FactKind.APPROVED, "A", capture_within_seconds=10_800)
REFUSED = Fact(FactKind.ATTEMPT_DECLINED, message="no cover", approval=1)
CANCEL, EXPIRE = Command(CommandKind.CANCEL), Command(CommandKind.EXPIRE)
WAITING = replace(
    PAYMENT, status=Status.PROCESSING, provider_reference="A", redirect_url="https://pay.example/A", was_sent=True
)
READY = decide(WAITING, APPROVED, NOW).payment
SENT = replace(READY, capture_sent_at=NOW)


def play(payment: Payment, *given: Input) -> tuple[Payment, list[Decision]]:
    decisions: list[Decision] = []
    for one in given:
        decisions.append(decide(payment, one, NOW))
        payment = decisions[-1].payment
    return payment, decisions


@pytest.mark.parametrize("status", sorted(OPEN))
def test_an_approval_of_an_open_payment_makes_its_capture_due(status: Status) -> None:
    decision = decide(replace(PAYMENT, status=status, redirect_url="https://pay.example/A"), APPROVED, NOW)
    payment = decision.payment
    assert (decision.verdict, payment.status, payment.provider_reference) == (Verdict.APPLIED, Status.PROCESSING, "A")
    assert (payment.approved_until, payment.approvals, payment.version) == (NOW + HOURS, 1, 2)
    assert decision.notification == ("payment.redirect_ready" if status is Status.PENDING else None)
    assert (decision.transfer, decision.case, decision.alert) == (None, None, None)
    assert next_call(payment, 3, NOW) == DueCall("advance", NOW)


def test_the_same_approval_again_changes_nothing() -> None:
    decision = decide(READY, APPROVED, NOW)
    assert (decision.verdict, decision.payment) == (Verdict.DUPLICATE, READY)


def test_an_approval_that_is_known_fills_in_what_is_missing() -> None:
    bare = replace(READY, redirect_url=None)
    decision = decide(bare, replace(APPROVED, redirect_url="https://pay.example/A"), NOW)
    assert (decision.payment.redirect_url, decision.payment.approvals) == ("https://pay.example/A", 1)
    assert decision.notification == "payment.redirect_ready"


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_an_ended_payment_is_not_captured(status: Status) -> None:
    ended = replace(WAITING, status=status, session_closed=True)
    decision = decide(ended, APPROVED, NOW)
    assert (decision.verdict, decision.payment) == (Verdict.IGNORED, ended)
    call = next_call(decision.payment, 0, NOW)
    assert call is None or call.action == "poll"


def test_a_payment_that_ended_after_the_approval_is_not_captured() -> None:
    cancelled = decide(READY, CANCEL, NOW).payment
    assert cancelled.status is Status.CANCELLED
    assert next_call(cancelled, 0, NOW) == DueCall("close", NOW)


def test_nothing_is_captured_while_received_money_waits_for_a_person() -> None:
    held = replace(WAITING, has_open_case=True, received_minor=1000, received_currency="USD")
    decision = decide(held, APPROVED, NOW)
    assert (decision.verdict, decision.payment) == (Verdict.IGNORED, held)


def test_an_approval_names_the_time_for_the_capture() -> None:
    with pytest.raises(InvariantBroken):
        decide(WAITING, Fact(FactKind.APPROVED, "A"), NOW)


def test_once_a_capture_was_sent_nobody_cancels_and_no_clock_expires() -> None:
    for command, later in itertools.product((CANCEL, EXPIRE), (NOW, NOW + 2 * HOURS, NOW + 1000 * HOURS)):
        decision = decide(SENT, command, later)
        assert (decision.verdict, decision.reason, decision.payment) == (Verdict.IGNORED, CAPTURE_IN_FLIGHT, SENT)


def test_an_approval_that_was_not_captured_in_time_expires() -> None:
    assert decide(READY, EXPIRE, NOW).verdict is Verdict.IGNORED
    assert decide(READY, EXPIRE, NOW + HOURS).payment.failure_reason == "expired"
    call = next_call(READY, 0, NOW + HOURS)
    assert call is not None
    assert call.action == "poll"


@pytest.mark.parametrize("later", [NOW, NOW + HOURS, NOW + 1000 * HOURS])
def test_an_unknown_capture_is_asked_for_again_and_never_let_go(later: datetime.datetime) -> None:
    assert next_call(SENT, 9, later) == DueCall("advance", later)
    assert query_now(next_call(SENT, 9, later), later).action == "advance"


def test_a_refused_capture_uses_the_approval_up_and_the_payer_may_approve_again() -> None:
    refused, _ = play(SENT, REFUSED)
    assert (refused.approved_until, refused.capture_sent_at, refused.approvals) == (None, None, 1)
    assert (refused.status, refused.last_attempt_error) == (Status.PROCESSING, "no cover")
    assert next_call(replace(refused, expires_at=NOW + 30 * MINUTE), 0, NOW) == DueCall("poll", NOW + MINUTE)
    assert decide(refused, CANCEL, NOW).payment.status is Status.CANCELLED
    assert decide(refused, EXPIRE, NOW).payment.status is Status.CANCELLED
    again, _ = play(refused, APPROVED)
    assert (again.approvals, next_call(again, 0, NOW)) == (2, DueCall("advance", NOW))


def test_only_the_answer_to_the_last_approvals_capture_ends_it() -> None:
    second = replace(SENT, approvals=2)
    for stale in (REFUSED, replace(REFUSED, approval=None)):
        after = decide(second, stale, NOW).payment
        assert (after.capture_sent_at, after.approved_until) == (NOW, second.approved_until)
        assert decide(after, CANCEL, NOW).verdict is Verdict.IGNORED


def test_a_capture_that_settles_later_is_waited_for_and_not_sent_again() -> None:
    settling, _ = play(SENT, Fact(FactKind.COMMITTED, "A", settles_within_days=7, approval=1))
    call = next_call(settling, 0, NOW)
    assert call is not None
    assert (call.action, call.due_at - NOW) == ("poll", datetime.timedelta(days=1))
    for later in (NOW, NOW + datetime.timedelta(days=30)):
        assert decide(settling, CANCEL, later).verdict is Verdict.IGNORED
        assert decide(settling, EXPIRE, later).verdict is Verdict.IGNORED


@pytest.mark.parametrize("kind", [FactKind.DECLINED, FactKind.CANCELLED])
def test_the_providers_end_of_a_capture_ends_the_payment(kind: FactKind) -> None:
    ended, _ = play(SENT, Fact(kind, "A", approval=1))
    assert ended.status is (Status.FAILED if kind is FactKind.DECLINED else Status.CANCELLED)
    assert next_call(ended, 0, NOW) is None or ended.session_closed


def test_a_capture_is_not_sent_before_the_provider_has_named_the_payment() -> None:
    unnamed = replace(READY, provider_reference=None, expires_at=NOW + 30 * MINUTE)
    assert next_call(unnamed, 0, NOW) == DueCall("create", NOW)


PAID = success()
# What the provider says of one approval and its capture, by whichever way: two webhooks, two polls, our call's answer.
ARRIVALS: tuple[Input, ...] = (APPROVED, replace(PAID, approval=1), PAID, APPROVED, Fact(FactKind.PENDING, "A"))


@pytest.mark.parametrize("policy", [Policy(), Policy(late="hold")])
def test_every_order_of_arrival_ends_in_the_same_books(policy: Policy) -> None:
    ends = set()
    for order in itertools.permutations(ARRIVALS):
        payment, decisions = play(replace(SENT, policy=policy), *order, *reversed(order))
        moved = [decision.transfer for decision in decisions if decision.transfer]
        assert [(one.type, one.amount_minor) for one in moved] == [("deposit", 2500)], order
        assert not [decision for decision in decisions if decision.case or decision.alert], order
        ends.add((payment.status, payment.exceptions, payment.received_minor, payment.approvals))
    assert ends == {(Status.COMPLETED, frozenset(), 2500, 1)}


def test_money_that_was_said_to_be_refused_is_credited_all_the_same() -> None:
    for order in itertools.permutations((REFUSED, PAID, APPROVED)):
        payment, decisions = play(SENT, *order)
        assert (payment.status, payment.exceptions) == (Status.COMPLETED, frozenset()), order
        assert len([one for one in decisions if one.transfer]) == 1
