"""The tables of docs/MONEY.md, row by row: each is played through the state machine, and none is missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

from app.core import money_events
from app.core.decision import Decision
from app.core.facts import Command, CommandKind, DisputeState, Fact, FactKind, Input, RefundState
from app.core.payment import Payment, Policy
from app.core.refunds.suspense import read_suspense
from app.core.reversals.records import MovementState
from tests.support.repository import ROOT
from tests.unit.core.payment_simulation import PAYMENT, SimulatedPayment, take_step

PAGE = ROOT / "docs" / "MONEY.md"
ASKED = replace(PAYMENT, amount_minor=100, provider_reference="A")
DISPUTES: dict[str, DisputeState] = {"disputed": "opened", "won": "won", "lost": "lost"}
MOVEMENTS = {"gone": FactKind.REVERSED, "again": FactKind.REINSTATED}
REFUNDS: dict[str, RefundState] = {"refunded": "completed", "refused": "failed"}
COMMANDS = {str(kind): Command(kind) for kind in CommandKind}


class MoneyCase(NamedTuple):
    """One row as the page has it; what is empty there is ''."""

    policy: str
    events: str
    status: str
    credited: str
    waiting: str
    given_back: str
    exception: str
    verdict: str


def read_rows() -> list[MoneyCase]:
    """Return the cases of all tables with the page's nine columns; the ninth, why, is for readers."""
    lines = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    cells = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    width = len(MoneyCase._fields)
    return [MoneyCase(*one[:width]) for one in cells if len(one) == width + 1 and one[0] not in ("policy", "---")]


def read_policy(text: str) -> Policy:
    name, _, value = text.rpartition(" ") if " " in text else (text, "", "")
    if name == "tolerance":
        return Policy(tolerance_percent=Decimal(value))
    if name == "late and over":
        return Policy(late=value, over=value)
    return Policy(**{name: value}) if value else Policy()


def read_event(text: str, payment: Payment) -> Input:
    """Return '100', 'B 40', '100 EUR', 'B back 40', 'gone a 40', or the name of a command, end or mark as its input.

    'refunded' and 'refused' are about the newest refund of a policy.
    """
    if text in COMMANDS:
        return COMMANDS[text]
    if text == "declined":
        return Fact(FactKind.DECLINED, "A")
    if text in DISPUTES:
        return Fact(FactKind.DISPUTE, "A", dispute_id="d", dispute_state=DISPUTES[text])
    if text in REFUNDS:
        return Fact(FactKind.REFUND_STATE, refund_id=payment.refunds[-1].id, refund_state=REFUNDS[text])
    words = text.split()
    if words[0] in MOVEMENTS:
        kind, reversal_id, amount = MOVEMENTS[words[0]], words[1], int(words[2])
        return Fact(kind, "A", amount_minor=amount, currency="USD", reversal_id=reversal_id)
    reference = words.pop(0) if words[0] == "B" else "A"
    kind = FactKind.REFUNDED if words[0] == "back" else FactKind.SUCCEEDED
    amount, *currency = words[1:] if kind is FactKind.REFUNDED else words
    return Fact(kind, reference, amount_minor=int(amount), currency=currency[0] if currency else "USD")


def play_row(row: MoneyCase) -> MoneyCase:
    simulated, decision = SimulatedPayment(replace(ASKED, policy=read_policy(row.policy))), None
    for event in row.events.split(", "):
        if event.startswith("late "):
            simulated = replace(simulated, payment=replace(simulated.payment, policy=read_policy(event)))
            continue
        taken = take_step(simulated, event, read_event(event, simulated.payment))
        assert taken is not None, f"'{event}' cannot be done after {simulated.path}"
        simulated, decision = taken
    assert decision is not None
    return describe(row, simulated, decision)


def describe(row: MoneyCase, simulated: SimulatedPayment, decision: Decision) -> MoneyCase:
    payment = simulated.payment
    credited = [(simulated.credited(currency), currency) for currency in ("USD", "EUR")]
    waiting = [(case.amount_minor, case.currency) for case in simulated.open_cases if case.reason != "suspense"]
    back = [f"back {one.amount_minor}" for one in payment.reversals_waiting]
    words = {str(kind): word for word, kind in MOVEMENTS.items()}
    moves = [one for one in payment.movements if one.state is MovementState.WAITING]
    back += [f"{words[one.kind]} {one.amount_minor}" for one in moves]
    named = payment.refunds[0].reference if payment.refunds else None
    suspended = read_suspense(payment, named, payment.currency).left_minor
    back += [f"suspense {suspended}"] if suspended else []
    came = sum(one.amount_minor for one in simulated.transfers if one.type == "reinstatement")
    given_back = [(simulated.reversed("USD") - came, "USD"), (simulated.reversed("EUR"), "EUR")]
    return MoneyCase(
        row.policy,
        row.events,
        str(payment.status),
        show(credited),
        ", ".join(filter(None, [show(waiting), *back])),
        show(given_back),
        payment.exception or "",
        str(decision.verdict),
    )


def show(money: list[tuple[int | None, str | None]]) -> str:
    return ", ".join(f"{amount} {currency}".removesuffix(" USD") for amount, currency in money if amount)


@pytest.mark.parametrize("row", read_rows(), ids=lambda row: f"{row.policy}: {row.events}")
def test_what_the_page_says_happens(row: MoneyCase) -> None:
    assert play_row(row) == row


def list_lines(code: CodeType) -> set[int]:
    """Return the lines within functions, their `def` lines left out."""
    lines: set[int] = set()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            own = {line for _, _, line in constant.co_lines() if line and line != constant.co_firstlineno}
            lines |= own | list_lines(constant)
    return lines


def test_the_page_leaves_no_line_of_the_rules_out() -> None:
    path = money_events.__file__
    seen: set[int] = set()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename == path:
            seen.add(frame.f_lineno)
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        rows = [play_row(row) for row in read_rows()]
    finally:
        sys.settrace(before)
    lines = list_lines(compile(Path(path).read_text(encoding="utf-8"), path, "exec"))
    assert len(rows) > 50
    assert sorted(lines - seen) == []
