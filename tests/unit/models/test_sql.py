"""Core statements and templates as text: what is a parameter, what a literal, what can be filled in."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ClauseElement, bindparam, func, select, tuple_, update

from models import prepared, tables
from models.sql import columns, render, seconds, sql

_P = tables.payment_transactions.alias("p")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            select(_P.c.id).where(_P.c.id == bindparam("id")),
            "SELECT p.id FROM payment_transactions AS p WHERE p.id = :id",
        ),
        (_P.c.status == "pending", "p.status = 'pending'"),
        (_P.c.status.in_(["failed", "cancelled"]), "p.status IN ('failed', 'cancelled')"),
        (_P.c.provider_reference == "it's 100% \\", "p.provider_reference = 'it''s 100% \\'"),
        (_P.c.version % 7, "p.version % 7"),
        (func.coalesce(_P.c.received_minor, 0).label("received"), "coalesce(p.received_minor, 0) AS received"),
        (
            tuple_(_P.c.created_at, _P.c.id) < tuple_(bindparam("at"), bindparam("id")),
            "(p.created_at, p.id) < (:at, :id)",
        ),
        (
            update(tables.payment_work).values(due_at=func.now() + seconds("wait")),
            "UPDATE payment_work SET due_at=(now() + make_interval(secs => :wait))",
        ),
    ],
)
def test_values_of_the_statement_are_literals_and_others_parameters(statement: ClauseElement, expected: str) -> None:
    assert " ".join(render(statement).split()) == expected


def test_a_template_is_filled_with_columns_and_tables() -> None:
    filled = sql("select {shown}, '{{}}' from {p}", shown=columns(_P, "id", "metadata"), p=_P)
    assert filled == "select p.id, p.metadata, '{}' from payment_transactions AS p"


@pytest.mark.parametrize("part", ["; drop table payments", ["id", "status"], 1])
def test_a_template_takes_no_text(part: Any) -> None:
    with pytest.raises((AttributeError, TypeError)):
        sql("select {part}", part=part)


def test_an_unknown_column_is_found_when_the_module_is_imported() -> None:
    with pytest.raises(KeyError):
        columns(_P, "id", "amount")


def test_statements_as_text_and_of_core_are_sent_alike() -> None:
    core = prepared(select(_P.c.id).where(_P.c.status == "failed", _P.c.id == bindparam("id")))
    text = prepared(
        "SELECT p.id \nFROM payment_transactions AS p \nWHERE p.status = 'failed' AND p.id = :id",
    )
    assert core == text
    assert core.plain.endswith("p.id = %(id)s")
    assert core.statements[0].prepare.endswith("p.id = $1")
