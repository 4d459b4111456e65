"""What becomes of a payment, row by row, as the contract says it."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace
from decimal import Decimal

import pytest

from app.core.decision import Verdict
from app.core.facts import Command, CommandKind, FactKind
from app.core.payment import Policy, Status
from app.core.state_machine import COMMANDS, FACTS, decide
from tests.unit.core.payment_simulation import NOW, PAYMENT, POLICIES, play, success


def test_the_table_is_total() -> None:
    assert FACTS.keys() == set(itertools.product(Status, FactKind))
    assert COMMANDS.keys() == set(itertools.product(Status, CommandKind))


def summary(*names: str, policy: Policy = POLICIES["default"]) -> tuple[str, str | None, int, str]:
    """Status, mark, credit in USD, and the last verdict."""
    simulated, decision = play(*names, policy=policy)
    return str(simulated.payment.status), simulated.payment.exception, simulated.credited("USD"), str(decision.verdict)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("accepted",), ("processing", None, 0, "applied")),
        (("accepted", "success"), ("completed", None, 2500, "applied")),
        (("success", "accepted"), ("completed", None, 2500, "applied")),
        (("success", "success"), ("completed", None, 2500, "duplicate")),
        (("success without reference", "success"), ("completed", None, 2500, "duplicate")),
        (("accepted", "declined"), ("failed", None, 0, "applied")),
        (("accepted", "cancelled"), ("cancelled", None, 0, "applied")),
        (("accepted", "cancel", "declined"), ("cancelled", None, 0, "ignored")),
        (("accepted", "declined", "success"), ("completed", "late", 2500, "applied")),
        (("accepted", "cancel", "success"), ("completed", "late", 2500, "applied")),
        (("accepted", "expire", "success"), ("completed", "late", 2500, "applied")),
        (("accepted", "cancel", "success", "cancelled"), ("completed", "late", 2500, "ignored")),
        (("accepted", "cancel", "success", "declined"), ("completed", "conflict", 2500, "conflict")),
        (("success", "declined"), ("completed", "conflict", 2500, "conflict")),
        (("success", "cancelled"), ("completed", "conflict", 2500, "conflict")),
        (("success", "cancel"), ("completed", None, 2500, "ignored")),
        (("success", "expire"), ("completed", None, 2500, "ignored")),
        (("success, lower",), ("pending", "underpaid", 0, "dead_letter")),
        (("success, lower", "success"), ("completed", None, 2500, "applied")),
        (("success, lower", "accept"), ("completed", "underpaid", 1000, "applied")),
        (("success, lower", "accept", "success"), ("completed", "underpaid", 1000, "conflict")),
        (("success, lower", "accept", "success", "accept"), ("completed", "underpaid", 2500, "applied")),
        (("success, lower", "reject"), ("pending", "underpaid", 0, "applied")),
        (("success, lower", "expire"), ("pending", "underpaid", 0, "ignored")),
        (("success, lower", "declined"), ("pending", "underpaid", 0, "conflict")),
        (("success, higher",), ("pending", "overpaid", 0, "dead_letter")),
        (("success, higher", "accept"), ("completed", "overpaid", 3000, "applied")),
        (("success, other currency",), ("pending", "currency_mismatch", 0, "dead_letter")),
        (("success, other currency", "success"), ("completed", None, 2500, "applied")),
        (("accepted", "success, other reference"), ("processing", "conflict", 0, "dead_letter")),
        (("success", "success, other reference"), ("completed", "conflict", 2500, "conflict")),
        (("success", "success, other reference", "accept"), ("completed", "conflict", 5000, "applied")),
        (("accepted", "success, other reference", "accept", "success"), ("completed", "conflict", 2500, "conflict")),
        (
            ("accepted", "success, other reference", "accept", "success, other reference"),
            ("completed", "conflict", 2500, "duplicate"),
        ),
        (
            ("success", "success, other reference", "accept", "success, higher", "accept"),
            ("completed", "conflict", 5500, "applied"),
        ),
        (("success", "success, other reference", "accept", "success"), ("completed", "conflict", 5000, "duplicate")),
        (("success", "success, higher"), ("completed", "conflict", 2500, "conflict")),
        (("success", "success, higher", "accept"), ("completed", "conflict", 3000, "applied")),
        (("success, higher", "reject", "success, higher"), ("pending", "overpaid", 0, "duplicate")),
        (("success, higher", "reject", "success", "success, higher"), ("completed", "conflict", 2500, "conflict")),
        (("success", "refunded"), ("completed", "reversed", 2500, "applied")),
        (("success", "refunded", "refunded"), ("completed", "reversed", 2500, "duplicate")),
        (("refunded", "success"), ("completed", "reversed", 2500, "applied")),
        (("refunded", "refunded"), ("pending", None, 0, "duplicate")),
        (("success, lower", "refunded in part", "accept"), ("completed", "underpaid", 1000, "applied")),
        (("not found",), ("pending", None, 0, "ignored")),
    ],
)
def test_what_becomes_of_it(names: tuple[str, ...], expected: tuple[str, str | None, int, str]) -> None:
    assert summary(*names) == expected


def test_the_payments_policy_decides_about_late_and_other_money() -> None:
    late = ("accepted", "cancel", "success")
    assert summary(*late, policy=POLICIES["late held"]) == ("cancelled", "late", 0, "dead_letter")
    assert summary(*late, "accept", policy=POLICIES["late held"]) == ("completed", "late", 2500, "applied")
    assert summary(*late, policy=POLICIES["late rejected"]) == ("cancelled", "late", 0, "dead_letter")
    assert not play(*late, policy=POLICIES["late rejected"])[0].open_cases
    assert summary("success, higher", policy=POLICIES["over credited"]) == ("completed", "overpaid", 3000, "applied")
    assert not play("success, higher", policy=POLICIES["over rejected"])[0].open_cases
    assert summary("success, lower", policy=POLICIES["tolerant"]) == ("completed", None, 1000, "applied")


@pytest.mark.parametrize(
    ("percent", "amount", "credited"),
    [("1", 2475, True), ("1", 2474, False), ("0.99", 2475, False), ("0", 2499, False)],
)
def test_tolerance_is_rounded_down(percent: str, amount: int, credited: bool) -> None:
    payment = replace(PAYMENT, policy=Policy(tolerance_percent=Decimal(percent)))
    assert (decide(payment, success(amount), NOW).transfer is not None) is credited


def test_refunds_are_totals_and_take_only_what_is_new() -> None:
    simulated, _ = play("success", "refunded in part", "refunded", "refunded in part")
    assert [row.amount_minor for row in simulated.transfers if row.type == "reversal"] == [1000, 1500]
    assert simulated.payment.reversed_minor == 2500


@pytest.mark.parametrize("negative", ["allow", "hold"])
def test_what_a_provider_takes_back_is_booked_under_every_policy(negative: str) -> None:
    simulated, _ = play("success", "refunded", policy=Policy(negative=negative))
    assert [row.amount_minor for row in simulated.transfers if row.type == "reversal"] == [2500]


def test_an_expiry_waits_for_the_clock_and_for_waiting_webhooks() -> None:
    expire = Command(CommandKind.EXPIRE)
    early = decide(replace(PAYMENT, expires_at=NOW + datetime.timedelta(seconds=1)), expire, NOW)
    waiting = decide(replace(PAYMENT, has_waiting_webhooks=True), expire, NOW)
    for decision in (early, waiting):
        assert (decision.verdict, decision.payment.status) == (Verdict.IGNORED, Status.PENDING)
    assert decide(PAYMENT, expire, NOW).payment.failure_reason == "expired"


def test_the_strongest_mark_is_shown() -> None:
    order = ("currency_mismatch", "underpaid", "overpaid", "conflict", "reversed", "late")
    for place in range(len(order)):
        assert replace(PAYMENT, exceptions=frozenset(order[place:])).exception == order[place]
    assert PAYMENT.exception is None
