"""What GoCardless's events and refunds say became of a payment's money, as far as they are plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import UnexpectedAnswer
from app.core.facts import DisputeReport, Fact, FactKind, Movement
from app.providers.adapters.gocardless.gocardless_events import read_payment
from app.providers.adapters.gocardless.gocardless_history import REFUNDS, read_refund, with_history

PAID = Fact(FactKind.SUCCEEDED, "BRQ1", amount_minor=2550, currency="GBP", aliases=("PM1",))


def event(resource: str, action: str, event_id: str, **more: Any) -> dict[str, Any]:
    named = {"id": event_id, "resource_type": resource, "action": action}
    return {**named, "created_at": "2026-11-28T12:00:00.000Z", **more}


def happened(*actions: str) -> list[dict[str, Any]]:
    """Return a payment's events, the newest first: `EV0` is the oldest, and all are of the same second."""
    rows = [
        event("payments", action, f"EV{index}", details={"cause": "refund_requested"})
        for index, action in enumerate(actions)
    ]
    # The refunds of a payment are of no interest here, which are read by themselves.
    return [event("refunds", "failed", "EV9"), *rows[::-1]]


def read(status: str, *actions: str) -> Fact:
    """Return what is read of a payment with this status, to which that happened."""
    return read_with(status, happened(*actions))


def read_with(status: str, events: list[dict[str, Any]]) -> Fact:
    payment = {"id": "PM1", "status": status, "amount": 2550, "currency": "GBP"}
    return with_history(read_payment(Fact(FactKind.COMMITTED, "BRQ1"), payment), payment, events)


def moved(*steps: tuple[str, str], minor: int = 2550) -> tuple[Movement, ...]:
    return tuple(Movement(kind, name, minor, "GBP") for kind, name in steps)  # type: ignore[arg-type]


GONE, AGAIN = "reversed", "reinstated"
# By what happened: the status, the movements, and the states of the disputes by their ids.
HISTORIES: dict[tuple[str, ...], tuple[str, list[tuple[str, str]], dict[str, str]]] = {
    ("confirmed",): ("confirmed", [], {}),
    ("confirmed", "paid_out"): ("paid_out", [], {}),
    ("confirmed", "charged_back"): ("charged_back", [(GONE, "EV1")], {"EV1": "opened"}),
    ("confirmed", "paid_out", "charged_back", "chargeback_settled"): (
        *("charged_back", [(GONE, "EV2")]),
        {"EV2": "lost"},
    ),
    ("confirmed", "charged_back", "chargeback_cancelled"): (
        *("confirmed", [(GONE, "EV1"), (AGAIN, "EV1")]),
        {"EV1": "won"},
    ),
    ("confirmed", "charged_back", "chargeback_cancelled", "charged_back"): (
        *("charged_back", [(GONE, "EV1"), (AGAIN, "EV1"), (GONE, "EV3")]),
        {"EV1": "won", "EV3": "opened"},
    ),
    ("confirmed", "failed"): ("failed", [(GONE, "EV1")], {}),
    ("confirmed", "paid_out", "failed", "late_failure_settled"): ("failed", [(GONE, "EV2")], {}),
    ("confirmed", "failed", "resubmission_requested", "submitted"): ("submitted", [(GONE, "EV1")], {}),
    ("confirmed", "failed", "resubmission_requested", "confirmed", "late_failure_settled"): (
        *("confirmed", [(GONE, "EV1"), (AGAIN, "EV1")]),
        {},
    ),
    # Declined at first, and collected by a second try.
    ("failed", "resubmission_requested", "confirmed"): ("confirmed", [], {}),
    # The first events are not kept any more.
    ("charged_back",): ("charged_back", [(GONE, "EV0")], {"EV0": "opened"}),
    (): ("paid_out", [], {}),
}


@pytest.mark.parametrize("actions", HISTORIES, ids=", ".join)
def test_each_cycle_has_the_id_of_the_event_that_began_it(actions: tuple[str, ...]) -> None:
    status, steps, states = HISTORIES[actions]
    fact = read(status, *actions)
    assert fact == replace(
        PAID,
        movements=moved(*steps),
        disputes=tuple(DisputeReport(name, state, "refund_requested") for name, state in states.items()),  # type: ignore[arg-type]
    )


def test_events_are_in_the_order_of_their_times() -> None:
    events = happened("confirmed", "charged_back", "chargeback_cancelled")
    for index, each in enumerate(reversed(events[:3])):
        each["created_at"] = f"2026-11-28T12:00:0{index}.000Z"
    assert read_with("confirmed", events) == read_with("confirmed", events[::-1])


def test_a_failure_before_any_confirmation_is_a_decline() -> None:
    for actions in (("submitted", "failed"), ()):
        assert read("failed", *actions).kind is FactKind.DECLINED
    assert read("submitted", "failed", "submitted").kind is FactKind.COMMITTED


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        ("charged_back", ("confirmed",)),
        ("charged_back", ()),
        ("failed", ("confirmed",)),
        ("confirmed", ("confirmed", "charged_back")),
        ("paid_out", ("confirmed", "failed")),
        ("submitted", ("confirmed",)),
        ("confirmed", ("chargeback_cancelled",)),
        ("confirmed", ("confirmed", "chargeback_settled")),
    ],
)
def test_events_that_do_not_lead_to_the_status_are_asked_for_again(status: str, actions: tuple[str, ...]) -> None:
    with pytest.raises(UnexpectedAnswer, match="events"):
        read(status, *actions)


def read_one(status: object) -> tuple[Movement, ...]:
    return read_refund({"id": "RF1", "status": status, "amount": 700, "currency": "GBP"})


@pytest.mark.parametrize("status", REFUNDS)
def test_a_refund_has_moved_what_its_status_says(status: str) -> None:
    steps = {None: [], False: [(GONE, "RF1")], True: [(GONE, "RF1"), (AGAIN, "RF1")]}[REFUNDS[status]]
    assert read_one(status) == moved(*steps, minor=700)


@pytest.mark.parametrize("status", ["melted", None, ["paid"]])
def test_an_unknown_status_of_a_refund_is_for_a_person(status: object) -> None:
    with pytest.raises(UnexpectedAnswer, match="unknown status"):
        read_one(status)
