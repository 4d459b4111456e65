"""Has the server plan prepared statements before anybody waits for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Connection

from models.statements import Statements, read

_PLACEHOLDER = re.compile(r"%\(\w+\)s")


def plan(connection: Connection, messages: Iterable[Statements]) -> None:
    """Prepare and plan statements in a transaction that keeps plans (`by_keys="few"`); none is run.

    Planning what a batch of one runs takes several times as long as running it. Raise sqlalchemy.exc.DBAPIError.
    """
    for statement in dict.fromkeys(part for message in messages for part in message.statements):
        # The plan is made for any values, so each may be null.
        explain = "explain " + _PLACEHOLDER.sub("null", statement.execute)
        # Where the connection keeps no prepared statements there is nothing to plan.
        read(connection, Statements((statement,), explain, "select 1"), {})
