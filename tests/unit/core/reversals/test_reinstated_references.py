"""Money comes again under the reference under which it was taken, whatever the report of it names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.facts import Fact, FactKind
from app.core.payment import OtherReference
from app.core.reversals.credited import read_credited
from app.core.state_machine import decide
from tests.unit.core.payment_simulation import NOW, PAYMENT


@pytest.mark.parametrize("named", ["A", "B", None])
def test_it_comes_again_where_it_was_taken_from(named: str | None) -> None:
    amount = PAYMENT.amount_minor
    payment = decide(PAYMENT, Fact(FactKind.SUCCEEDED, "A", amount_minor=amount, currency="USD"), NOW).payment
    # A person has accepted a second payment of the money.
    payment = replace(payment, other_references=(OtherReference("B", "USD", accepted_minor=amount),))
    for kind, reference in ((FactKind.REVERSED, "B"), (FactKind.REINSTATED, named)):
        report = Fact(kind, reference, amount_minor=amount, currency="USD", reversal_id="re_1")
        decision = decide(payment, report, NOW)
        assert decision.transfer is not None
        payment = decision.payment
    assert [read_credited(payment, one, "USD").reversed_minor for one in ("A", "B")] == [0, 0]
    assert "reversed" not in payment.exceptions
