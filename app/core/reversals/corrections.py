"""Corrections: a person has the books follow what the provider shows, where reconciliation has found a difference.

A correction is a movement of ours, which no provider reports. One of what was credited makes the credit and what is
reversed smaller than the entries say wherever they are compared with a provider's figures.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Final

from app.core.decision import Decision, Verdict, money_of
from app.core.errors import InvariantBroken
from app.core.facts import Command, MovementKind
from app.core.payment import Payment
from app.core.reversals import movements
from app.core.reversals.credited import (
    CORRECTIONS,
    CREDIT_CORRECTION,
    MOVEMENT_CORRECTION,
    read_credited,
    sum_corrections,
)
from app.core.reversals.records import KnownMovement, MovementState

# Reasons of the cases that hold a correction, and the one that is about a movement.
MOVEMENT: Final = "movement"
CORRECTABLE = frozenset({"amount", "currency", "missing_there", "state", MOVEMENT})


def correct(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Take back what the provider does not show as paid, or give again what only we have taken back.

    The command's amount is what the case adds to the wallet, less than nothing where it takes back. Where less is left
    to be corrected by now, that much is booked.
    """
    wanted_minor, currency = money_of(command)
    if currency != payment.received_currency:
        return Decision(Verdict.IGNORED, "no money in that currency was credited", payment)
    kind, left_minor = _read_left(payment, currency, wanted_minor, is_movement=_is_movement(command))
    amount_minor = min(abs(wanted_minor), left_minor)
    if amount_minor <= 0:
        return Decision(Verdict.IGNORED, "nothing of it is left to be corrected", payment)
    name = MOVEMENT_CORRECTION if _is_movement(command) else CREDIT_CORRECTION
    correction = KnownMovement(
        kind, f"{name}{command.case_id}", payment.provider_reference, amount_minor, currency, MovementState.BOOKED
    )
    decision = movements.book_waiting(payment, correction, now)
    # What other cases hold was computed before this one; reconciliation opens again what still differs.
    return replace(
        decision,
        reason="corrected by a person: what the provider shows counts",
        supersedes=CORRECTABLE,
        supersedes_keys=None,
        alert=None,
    )


def is_correction(movement: KnownMovement) -> bool:
    """Return whether a person booked the movement, and no provider reports it."""
    return movement.reversal_id.startswith(CORRECTIONS)


def _read_left(payment: Payment, currency: str, wanted_minor: int, *, is_movement: bool) -> tuple[MovementKind, int]:
    """Return the kind of the correction, and how much of it there is left to be corrected, in minor units."""
    money = read_credited(payment, payment.provider_reference, currency)
    if wanted_minor < 0:
        return "reversed", money.left_minor
    if is_movement:
        return "reinstated", money.reversed_minor - money.refunded_minor
    return "reinstated", sum_corrections(payment)


def _is_movement(command: Command) -> bool:
    if command.case_key is None:
        raise InvariantBroken("'correct' comes with the key of its case")
    return command.case_key.startswith(f"{MOVEMENT}:")
