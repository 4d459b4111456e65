"""An error that nobody foresaw is answered with a problem that says nothing of what went wrong inside."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
import pytest
from flask import Flask
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.core.errors import InvariantBroken
from app.sockets.application import add_errors
from app.web.errors import register_errors

CANARY = "canary-7f3a postgresql://sluice:secret@db/sluice"
# The message, statement, parameters and cause of an exception must not leak.
ERRORS: dict[str, Exception] = {
    "plain": RuntimeError(CANARY),
    "key": KeyError(CANARY),
    "assertion": AssertionError(CANARY),
    "unicode": UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
    "invariant": InvariantBroken(CANARY),
    "away": OperationalError(f"select '{CANARY}'", {"x": CANARY}, psycopg2.OperationalError(CANARY)),
    "interface": InterfaceError(f"select '{CANARY}'", {"x": CANARY}, psycopg2.InterfaceError(CANARY)),
    "statement": ProgrammingError(f"select '{CANARY}'", {"x": CANARY}, psycopg2.ProgrammingError(CANARY)),
    "data": DataError(f"select '{CANARY}'", {"x": CANARY}, psycopg2.DataError(CANARY)),
    "pool": PoolTimeoutError(CANARY),
}
# Nothing was done, and it can be tried again.
UNAVAILABLE = {"away", "interface", "pool"}


@pytest.mark.parametrize("register", [register_errors, add_errors], ids=["web", "sockets"])
@pytest.mark.parametrize("name", ERRORS)
def test_no_answer_reveals_what_was_raised(register: Callable[[Flask], None], name: str) -> None:
    app = Flask(__name__)
    register(app)

    @app.get("/fails")
    def fail() -> str:
        raise ERRORS[name]

    answer = app.test_client().get("/fails")
    assert answer.status_code == (503 if name in UNAVAILABLE else 500)
    assert answer.content_type == "application/problem+json"
    reported = answer.get_data(as_text=True) + str(answer.headers)
    for part in ("canary", "secret", "postgresql", "select", "Traceback", type(ERRORS[name]).__name__, "psycopg2"):
        assert part not in reported
