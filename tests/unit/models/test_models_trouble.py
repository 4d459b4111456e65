"""The one classification of the database's own trouble, by SQLSTATE and by what the driver raises without one."""

from __future__ import annotations

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.trouble import classify_sqlstate, find_trouble

TROUBLE = {
    "08000": "connection",
    "08001": "connection",
    "08006": "connection",
    "25006": "read_only",
    "25P03": "connection",
    "40001": "lock",
    "40P01": "lock",
    "53000": "resources",
    "53100": "resources",
    "53200": "resources",
    "53300": "connection",
    "53400": "resources",
    "55000": "lock",
    "55006": "lock",
    "55P03": "lock",
    "57000": "connection",
    "57014": "timeout",
    "57P01": "connection",
    "57P02": "connection",
    "57P03": "connection",
    "57P05": "connection",
    "58000": "resources",
    "58030": "resources",
    "58P01": "resources",
}
# Data, integrity, missing tables and rights, a transaction that has failed, an exception of PL/pgSQL, a broken index.
OWN = ("22001", "22P02", "23505", "23514", "25P02", "25001", "42501", "42P01", "P0001", "XX000", "XX002")


@pytest.mark.parametrize(("sqlstate", "trouble"), TROUBLE.items())
def test_the_databases_own_states_are_trouble(sqlstate: str, trouble: str) -> None:
    assert classify_sqlstate(sqlstate) == trouble


@pytest.mark.parametrize("sqlstate", OWN)
def test_what_a_statement_or_its_data_does_wrong_is_none(sqlstate: str) -> None:
    assert classify_sqlstate(sqlstate) is None


def raised(error: psycopg2.Error, *, is_lost: bool = False) -> Exception:
    instance = DBAPIError.instance(
        "select 1", None, error, psycopg2.Error, connection_invalidated=is_lost, dialect=None
    )
    assert isinstance(instance, DBAPIError)
    return instance


def test_what_the_driver_raises_by_itself_is_a_lost_connection() -> None:
    assert find_trouble(raised(psycopg2.OperationalError("connection refused"))) == "connection"
    assert find_trouble(raised(psycopg2.InterfaceError("connection already closed"))) == "connection"
    assert find_trouble(raised(psycopg2.DatabaseError("no COPY in progress"), is_lost=True)) == "connection"
    assert find_trouble(PoolTimeoutError()) == "connection"


def test_other_errors_are_none() -> None:
    assert find_trouble(raised(psycopg2.ProgrammingError("can't adapt type"))) is None
    assert find_trouble(ProgrammingError("select", None, ValueError())) is None
    assert find_trouble(ValueError()) is None
