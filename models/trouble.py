"""Classifies errors of the database itself, which do not count as failed attempts of the row being processed."""

from __future__ import annotations

from typing import Literal

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# lock: another transaction holds a needed lock. timeout: a statement ran too long or was cancelled. connection: there
# is no connection, or the server ended it. resources: no disk, memory, connection or file is left. read_only: the
# server takes no writes.
Trouble = Literal["lock", "timeout", "connection", "resources", "read_only"]

# By SQLSTATE, else by its class (PostgreSQL manual, appendix A).
_BY_STATE: dict[str, Trouble] = {
    "25006": "read_only",
    # The server ended a session that was idle in a transaction: its process had been stopped.
    "25P03": "connection",
    "53300": "connection",
    "57014": "timeout",
}
_BY_CLASS: dict[str, Trouble] = {
    "08": "connection",
    "40": "lock",
    "53": "resources",
    "55": "lock",
    "57": "connection",
    "58": "resources",
}


def classify_sqlstate(sqlstate: str) -> Trouble | None:
    """Return the trouble of the database that an SQLSTATE stands for, None where it is about the statement or data."""
    return _BY_STATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2])


def find_trouble(error: BaseException) -> Trouble | None:
    """Return which trouble of the database raised `error`, None where it is any other error."""
    if isinstance(error, PoolTimeoutError):
        return "connection"
    if not isinstance(error, DBAPIError):
        return None
    sqlstate = read_sqlstate(error)
    trouble = classify_sqlstate(sqlstate) if sqlstate else None
    if trouble is None and error.connection_invalidated:
        return "connection"
    # The driver's own errors have no SQLSTATE: it could not connect, or lost the connection.
    if sqlstate is None and isinstance(error, OperationalError | InterfaceError):
        return "connection"
    return trouble


def read_sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE that the server gave, None where the server gave none."""
    return getattr(getattr(error, "orig", None), "pgcode", None)
