"""Checks: queries that find the rows that break an invariant, among given rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from sqlalchemy import Connection, TextClause, text

# Rows read per check and chunk: enough to recognise the fault without reading a whole table of violations.
ROWS_MAX = 100

# The first line of a check.
HEADLINE = re.compile(r"^ *-- (I[0-9]+): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Violation:
    """A row that breaks an invariant: the statement that is false, the row, and its values."""

    invariant: str
    statement: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """A query for `subject` and `detail` of each row for which `statement`, a part of `invariant`, is false."""

    invariant: str
    statement: str
    query: TextClause

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> list[Violation]:
        """Return the violations among the rows that `parameters` name, at most ROWS_MAX."""
        rows = connection.execute(self.query, parameters)
        return [Violation(self.invariant, self.statement, str(row.subject), str(row.detail or "")) for row in rows]


def fill(query: str, /, **parts: str) -> str:
    """Return `query` with each `$name` replaced by the part of that name; parts are constants of the code."""
    return Template(query).substitute(parts)


def read_checks(queries: str, /, **parts: str) -> tuple[Check, ...]:
    """Return the checks in `queries`: each is a comment `-- <invariant>: <statement>` and the query below it.

    A query must return `subject` and `detail`, and each `$name` in it is one of `parts`.
    """
    _, *found = HEADLINE.split(queries)
    limited = "select subject, detail from ($query) as found limit $rows"
    return tuple(
        Check(invariant, statement, text(fill(limited, query=fill(query, **parts), rows=str(ROWS_MAX))))
        for invariant, statement, query in zip(found[::3], found[1::3], found[2::3], strict=True)
    )


def run_all(checks: Iterable[Check], connection: Connection, parameters: Mapping[str, Any]) -> list[Violation]:
    """Return the violations that the checks find, in the order of the checks."""
    return [violation for each in checks for violation in each.run(connection, parameters)]
