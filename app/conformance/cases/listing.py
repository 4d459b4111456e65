"""Cases about the provider's list, which reconciliation compares with ours."""

from __future__ import annotations

import datetime

from app.conformance.case import case, expect, expect_equal, expect_error, unless_lists, unless_lists_all
from app.conformance.proxy import Fault
from app.conformance.trial import HOUR, MINOR, Trial
from app.core.errors import OutcomeUnknown, ProviderRefusedUs
from app.providers import Listed

# More than the page of any adapter here: a second page has to be asked for.
_ROWS = 205


@case(unless_lists_all)
def list_equals_the_truth(trial: Trial) -> None:
    """The list has each payment once, with our id, what was asked, and its state and money as a lookup has them."""
    paid, given_back, waiting = (trial.created() for _ in range(3))
    trial.happen(paid, "pay")
    trial.happen(given_back, "pay")
    trial.happen(given_back, "refund", amount_minor=700)
    rows = {row.payment_id: row for row in _list(trial)}
    expect_equal(set(rows), {paid.id, given_back.id, waiting.id}, "the payments of the list")
    for deposit in (paid, given_back, waiting):
        row, found = rows[deposit.id], trial.fetch(deposit)
        expect_equal((row.asked_minor, row.currency), (MINOR, deposit.order.currency), "what was asked")
        expect_equal((row.reference, row.fact.kind), (deposit.reference, found.kind), "the row")
        expect_equal((row.fact.amount_minor, row.fact.currency), (found.amount_minor, found.currency), "the money")
    expect_equal([rows[each.id].refunded_minor for each in (paid, given_back)], [0, 700], "what was given back")


@case(unless_lists_all)
def list_has_pages(trial: Trial) -> None:
    """A list of more payments than a page holds has all of them, each once."""
    made = sorted(trial.created().id for _ in range(_ROWS))
    rows = [row.payment_id for row in _list(trial)]
    expect_equal(len(rows), _ROWS, "the rows of the list")
    expect(sorted(row for row in rows if row) == made, "the list has other payments than were made")


@case(unless_lists)
def list_has_its_period(trial: Trial) -> None:
    """The list of another time does not have a payment of now."""
    trial.created()
    now = datetime.datetime.now(datetime.UTC)
    for after, before in ((now - 3 * HOUR, now - HOUR), (now + HOUR, now + 2 * HOUR)):
        expect_equal(trial.list_payments(after, before), [], "the list of another time")


@case(unless_lists)
def failed_list_is_no_empty_one(trial: Trial) -> None:
    """A list that fails or cannot be read raises, so that nobody takes it for an empty one."""
    trial.created()
    for fault in (Fault(False, status=500), Fault(False, status=200, body=b'{"error": 1}'), Fault(ending="half")):
        trial.proxy.spoil(fault)
        expect_error(lambda: _list(trial), OutcomeUnknown)
        trial.proxy.heal()
    trial.proxy.spoil(Fault(False, status=401))
    expect_error(lambda: _list(trial), ProviderRefusedUs)


def _list(trial: Trial) -> list[Listed]:
    now = datetime.datetime.now(datetime.UTC)
    return trial.list_payments(now - HOUR, now + HOUR)
