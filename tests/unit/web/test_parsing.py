"""Handlers take what the table of routes declares."""

from __future__ import annotations

import uuid

import pytest
from flask import Blueprint, Response

from app.web.parsing import handles
from app.web.schemas.parameters import EventsQuery, PaymentQuery


def test_a_handler_that_takes_another_model_than_the_table_is_refused() -> None:
    def other(id: uuid.UUID, query: EventsQuery) -> Response:
        raise AssertionError

    def missing(id: uuid.UUID) -> Response:
        raise AssertionError

    def declared(id: uuid.UUID, query: PaymentQuery) -> Response:
        raise AssertionError

    register = handles(Blueprint("test", __name__), "GET", "/api/payments/{id}")
    for handler in (other, missing):
        with pytest.raises(RuntimeError, match="other models"):
            register(handler)
    register(declared)
