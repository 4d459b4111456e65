"""Mollie's objects and webhooks as facts, without Mollie."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from mollie import models as mollie_models

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import DisputeReport, Fact, FactKind, Movement
from app.providers import Asks, Ignored, Told
from app.providers.adapters.mollie.mollie_events import (
    read_classic,
    read_disputes,
    read_movements,
    read_payment,
    translate,
)


def test_no_status_of_mollies_package_is_unknown() -> None:
    amount = {"currency": "EUR", "value": "25.00"}
    for status in mollie_models.PaymentResponseStatus:
        read_payment({"id": "tr_1", "status": status.value, "amount": amount})
    with pytest.raises(UnexpectedAnswer):
        read_payment({"id": "tr_1", "status": "on its way", "amount": amount})


@pytest.mark.parametrize(
    "amount",
    [None, "25.00", {"value": "25.00"}, {"currency": "EUR", "value": 25}, {"currency": "XAU", "value": "1.00"}]
    + [{"currency": "EUR", "value": value} for value in ("-1.00", "1e3", "25.001", "")],
)
def test_an_amount_that_cannot_be_read_is_no_money(amount: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        read_payment({"id": "tr_1", "status": "paid", "amount": amount})


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"id=", b"id=tr_1&id=tr_2", b"payment=tr_1", b"id=re_1", b"id=tr_../x", b"\xff\x00", b'{"id": "tr_1"}'),
        *(b"&".join([b"a=1"] * 30) + b"&id=tr_1", b"id=tr_" + b"a" * 200),
    ],
)
def test_a_body_that_names_no_payment_is_no_poke(body: bytes) -> None:
    assert read_classic(body) is None
    assert read_classic(b"id=tr_7UhSN1zuXS") == "tr_7UhSN1zuXS"


def refund(status: str, value: str = "7.00", **more: Any) -> dict[str, Any]:
    amount = {"currency": "EUR", "value": value}
    return {"resource": "refund", "id": "re_1", "paymentId": "tr_1", "status": status, "amount": amount} | more


def chargeback(reversed_at: str | None) -> dict[str, Any]:
    amount = {"currency": "EUR", "value": "25.00"}
    shown = {"resource": "chargeback", "id": "chb_1", "paymentId": "tr_1", "amount": amount}
    return shown | {"reversedAt": reversed_at}


GONE, AGAIN = (Movement(kind, "re_1", 700, "EUR") for kind in ("reversed", "reinstated"))


def test_only_money_that_has_moved_is_a_movement() -> None:
    for status in mollie_models.RefundResponseStatus:
        moved = read_movements({"_embedded": {"refunds": [refund(status.value)]}})
        assert moved == {"refunded": (GONE,), "failed": (GONE, AGAIN)}.get(status.value, ()), status
    for reversed_at, kinds in ((None, ["reversed"]), ("2026-11-28T05:00:00+00:00", ["reversed", "reinstated"])):
        moved = read_movements({"_embedded": {"chargebacks": [chargeback(reversed_at)], "refunds": []}})
        assert [one.kind for one in moved] == kinds
        assert {(one.reversal_id, one.amount_minor) for one in moved} == {("chb_1", 2500)}
    assert read_movements({}) == ()


@pytest.mark.parametrize(
    ("kind", "reversed_at", "state"),
    [("chargeback.received", None, "opened"), ("chargeback.reversed", "2026-11-28T12:00:00+00:00", "won")],
)
def test_a_chargeback_is_a_dispute_as_well(kind: str, reversed_at: str | None, state: str) -> None:
    shown = chargeback(reversed_at) | {"reason": {"code": "AC01", "description": "Account identifier incorrect"}}
    report = DisputeReport("chb_1", state, "Account identifier incorrect")  # type: ignore[arg-type]
    assert read_disputes({"_embedded": {"chargebacks": [shown]}}) == (report,)
    *_, told = translate(event(kind, shown))
    assert isinstance(told, Told)
    wanted = Fact(FactKind.DISPUTE, dispute_id="chb_1", dispute_state=state, reason=report.reason)  # type: ignore[arg-type]
    assert (told.name, told.fact) == ("tr_1", wanted)
    assert read_disputes({"_embedded": {"chargebacks": [shown | {"reason": None}]}})[0].reason is None


@pytest.mark.parametrize("rows", [[None], "re_1", [refund("refunded", "-7.00")], [refund("refunded", id="")]])
def test_money_that_cannot_be_read_is_not_left_out(rows: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        read_movements({"_embedded": {"refunds": rows}})


def event(kind: str, entity: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    embedded = {} if entity is None else {"_embedded": {"entity": entity}}
    return {"resource": "event", "id": "event_1", "type": kind, "entityId": "tr_1", **embedded} | more


def test_each_event_about_money_that_moves_is_a_fact() -> None:
    stories = [
        (event("refund.refunded", refund("refunded", mode="test")), [("reversed", "re_1", 700)], False),
        (event("refund.failed", refund("failed")), [("reinstated", "re_1", 700), ("reversed", "re_1", 700)], None),
        (event("chargeback.received", chargeback(None)), [("reversed", "chb_1", 2500), ("dispute", None, None)], None),
    ]
    for body, facts, is_live in stories:
        told = translate(body)
        assert all(isinstance(one, Told) and (one.name, one.is_live) == ("tr_1", is_live) for one in told)
        assert [(one.fact.kind, one.fact.reversal_id, one.fact.amount_minor) for one in told] == [  # type: ignore[union-attr]
            (FactKind(kind), reversal_id, minor) for kind, reversal_id, minor in facts
        ]


def test_what_moves_nothing_and_what_is_not_ours_is_ignored() -> None:
    shown = {"resource": "payment", "id": "tr_1", "mode": "test", "status": "open", "metadata": None}
    ignored = [
        *(event(f"refund.{status}", refund(status)) for status in ("queued", "pending", "processing", "canceled")),
        *(event(kind, {"id": "x"}) for kind in ("payout.completed", "payment-link.paid", "capture.succeeded")),
        event("payment.pending", shown),
        event("refund.refunded", refund("refunded", paymentId="ord_1")),
    ]
    for body in ignored:
        assert [type(one) for one in translate(body)] == [Ignored], body


def test_an_event_that_only_names_its_payment_is_a_hint() -> None:
    assert list(translate(event("payment.paid", None))) == [Asks("tr_1")]


def test_an_event_that_cannot_be_read_is_unusable() -> None:
    own = {"metadata": {"payment_id": str(uuid.uuid4())}}
    paid = {"resource": "payment", "id": "tr_1", "status": "paid", "amount": {"currency": "EUR", "value": "1.00"}} | own
    for body in (
        {"id": "event_1"},
        event("payment.paid", paid),
        event("payment.paid", paid | {"mode": "trial"}),
        event("payment.paid", paid | {"mode": "test", "amount": "1.00"}),
        event("refund.refunded", refund("refunded", "a lot")),
    ):
        with pytest.raises(Unusable):
            translate(body)
