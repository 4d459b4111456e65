"""Mollie's objects and webhooks as facts, without Mollie."""

from __future__ import annotations

import pytest
from mollie import models as mollie_models

from app.core.errors import UnexpectedAnswer
from app.providers.adapters.mollie.mollie_events import read_classic, read_payment


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
