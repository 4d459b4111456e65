"""Every order of the facts of a payment ends with the same money: its credit, its reversals and what came again.

All sequences of up to six facts are walked, repeats among them. Sequences that lead to the same payment are continued
once, and of each set of facts every way that it was reached is compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.core.facts import DisputeReport, DisputeState, Fact, FactKind, Input, Movement, MovementKind
from app.core.payment import Payment, Policy
from app.core.refunds.suspense import read_suspense
from app.core.reversals.following import add_following, has_following, list_following
from app.core.state_machine import decide
from tests.unit.core.payment_simulation import NOW, PAYMENT

FACTS_MAX = 6
# What of the 100 the reversals a and b take: all of it, less, and twice more.
AMOUNTS = ((40, 60), (40, 30), (100, 100), (60, 60))
# Sequences of one to six facts of ten kinds, and of one to five of seven.
ORDERS = sum(10**length for length in range(1, FACTS_MAX + 1))
ORDERS_WITH_ANSWER = sum(7**length for length in range(1, 6))
ASKED = replace(PAYMENT, amount_minor=100)
SHOWN: tuple[tuple[MovementKind, str, int], ...] = (
    ("reversed", "a", 40),
    ("reversed", "b", 60),
    ("reinstated", "a", 40),
)
END = replace(ASKED, version=0, updated_at=NOW)


def moved(kind: FactKind, reversal_id: str, amount_minor: int) -> Fact:
    return Fact(kind, "A", amount_minor=amount_minor, currency="USD", reversal_id=reversal_id)


def dispute(state: DisputeState) -> Fact:
    return Fact(FactKind.DISPUTE, "A", dispute_id="d", dispute_state=state)


def list_facts(a: int, b: int) -> dict[str, Input]:
    """Return the facts by a letter each; `a` and `b` of the 100 went back."""
    return {
        "s": Fact(FactKind.SUCCEEDED, "A", amount_minor=100, currency="USD"),
        "t": Fact(FactKind.ATTEMPT_DECLINED, "A", message="no cover"),
        "f": Fact(FactKind.DECLINED, "A"),
        "c": Fact(FactKind.CANCELLED, "A"),
        "a": moved(FactKind.REVERSED, "a", a),
        "b": moved(FactKind.REVERSED, "b", b),
        "r": moved(FactKind.REINSTATED, "a", a),
        "o": dispute("opened"),
        "w": dispute("won"),
        "l": dispute("lost"),
    }


@dataclass(frozen=True)
class OrderedPayment:
    """A payment as a sequence of facts left it, and what was posted for it by type, in minor units."""

    payment: Payment
    posted: tuple[tuple[str, int], ...] = ()

    # A payment has metadata, which cannot be hashed.
    def __hash__(self) -> int:
        return hash((self.posted, self.payment.status, self.payment.exceptions, self.payment.movements))

    @property
    def money(self) -> tuple[object, ...]:
        """What must not depend on the order."""
        disputes = frozenset((one.dispute_id, one.state) for one in self.payment.disputes)
        suspense = read_suspense(self.payment, "A", "USD")
        if suspense.booked_minor:
            # Which reversal took what of it depends on their order, and so does what comes again: not the rest.
            posted = Counter(dict(self.posted))
            net = posted["reversal"] - posted["reinstatement"]
            money = (posted["deposit"], posted["suspense"], net, suspense.left_minor)
            return self.payment.reversed_minor, money, disputes, self.payment.exceptions & {"reversed", "disputed"}
        marks = self.payment.exceptions & {"reversed", "disputed"}
        return self.payment.reversed_minor, self.posted, disputes, marks

    def after(self, fact: Input) -> OrderedPayment:
        """Return what a fact, and what follows from it, makes of the payment; times and versions are left out."""
        payment, posted, queue = self.payment, Counter(dict(self.posted)), []
        while True:
            decision = decide(payment, fact, NOW)
            for transfer in filter(None, (decision.transfer, decision.suspense)):
                posted[transfer.type] += transfer.amount_minor
            if has_following(decision.payment, fact):
                queue = add_following(queue, list_following(payment, fact, decision), decision.payment)
            payment = decision.payment
            if not queue:
                break
            follow_up, *queue = queue
            fact = follow_up.fact
        waiting = tuple(sorted(payment.movements, key=lambda one: one.key))
        disputes = tuple(sorted(payment.disputes, key=lambda one: one.dispute_id))
        payment = replace(payment, version=0, updated_at=NOW, movements=waiting, disputes=disputes)
        return OrderedPayment(payment, tuple(sorted(posted.items())))


def walk_orders(facts: dict[str, Input], length: int, start: Payment = END) -> int:
    """Compare all orders of all sets of up to `length` facts of `start`; return how many orders they are."""
    orders = 0
    seen: dict[tuple[OrderedPayment, str], OrderedPayment] = {}
    level: dict[str, set[OrderedPayment]] = {"": {OrderedPayment(start)}}
    for _ in range(length):
        found: dict[str, set[OrderedPayment]] = {}
        for letters, payments in level.items():
            for letter, fact in facts.items():
                reached = found.setdefault("".join(sorted(letters + letter)), set())
                for before in payments:
                    after = seen.get((before, letter))
                    if after is None:
                        after = seen[before, letter] = before.after(fact)
                    reached.add(after)
        for letters, payments in found.items():
            repeats = math.prod(math.factorial(letters.count(letter)) for letter in set(letters))
            orders += math.factorial(len(letters)) // repeats
            ends = {one.money for one in payments}
            assert len(ends) == 1, f"{letters} ends in {ends}"
        level = found
    return orders


@pytest.mark.parametrize(("a", "b"), AMOUNTS)
def test_every_order_of_single_movements_ends_with_the_same_money(a: int, b: int) -> None:
    assert walk_orders(list_facts(a, b), FACTS_MAX) == ORDERS


@pytest.mark.parametrize(("a", "b"), [(30, 100), (90, 40), (20, 60)])
def test_every_order_around_an_excess_that_goes_back_ends_with_the_same_money(a: int, b: int) -> None:
    facts = list_facts(a, b) | {"s": Fact(FactKind.SUCCEEDED, "A", amount_minor=130, currency="USD")}
    start = replace(END, policy=Policy(over="refund"))
    assert walk_orders(facts, 5, start) == sum(10**length for length in range(1, 6))


def test_an_answer_that_shows_all_ends_alike_in_every_order() -> None:
    """What a lookup or a list shows is what the single messages say, whichever come before it and after it."""
    single = list_facts(40, 60)
    shown = tuple(Movement(kind, name, minor, "USD") for kind, name, minor in SHOWN)
    answer = replace(single["s"], movements=shown, disputes=(DisputeReport("d", "won", "fraudulent"),))  # type: ignore[type-var]
    facts = {"p": answer} | {letter: single[letter] for letter in "sabrow"}
    assert walk_orders(facts, 5) == ORDERS_WITH_ANSWER
    end = OrderedPayment(END).after(answer)
    assert (end.payment.reversed_minor, dict(end.posted)) == (
        60,
        {"deposit": 100, "reversal": 100, "reinstatement": 40},
    )
    assert [(one.state, one.reason) for one in end.payment.disputes] == [("won", "fraudulent")]
    assert end.after(answer) == end


def test_every_order_of_totals_ends_with_the_same_money() -> None:
    """Of totals the largest counts; in part, in whole and more than was credited."""
    facts = {letter: fact for letter, fact in list_facts(40, 60).items() if letter not in "abr"}
    for letter, minor in (("1", 40), ("2", 100), ("3", 130)):
        facts[letter] = Fact(FactKind.REFUNDED, "A", amount_minor=minor, currency="USD")
    assert walk_orders(facts, FACTS_MAX) == ORDERS


def test_the_documents_say_how_many_orders_are_tried() -> None:
    """Each test above asserts its number of orders."""
    text = (Path(__file__).parents[4] / "docs" / "MONEY.md").read_text(encoding="utf-8")
    orders = [int(number.replace(",", "")) for number in re.findall(r"^\| .* \| ([\d,]+) \|$", text, re.MULTILINE)]
    tried = [len(AMOUNTS) * ORDERS, ORDERS, ORDERS_WITH_ANSWER]
    assert orders == [*tried, sum(tried)]
