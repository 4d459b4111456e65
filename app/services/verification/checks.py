"""What a check is: one query that finds what breaks an invariant, within some rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from sqlalchemy import Connection, TextClause, text

# Of one kind of breach this many rows are read per chunk: enough to see what it is, not the whole table.
ROWS_MAX = 100


@dataclass(frozen=True, slots=True)
class Breach:
    """One row that breaks an invariant: what is broken, which row, and what it says."""

    invariant: str
    what: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """A query that gives `subject` and `detail` of every row that breaks `invariant`; `what` says how."""

    invariant: str
    what: str
    query: TextClause

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> list[Breach]:
        """Return what is broken among the rows that `parameters` name, at most ROWS_MAX of them."""
        rows = connection.execute(self.query, parameters)
        return [Breach(self.invariant, self.what, str(row.subject), str(row.detail or "")) for row in rows]


def fill(query: str, /, **parts: str) -> str:
    """Return `query` with each `$name` replaced by the part of that name; parts are constants of this package."""
    return Template(query).substitute(parts)


def check(invariant: str, what: str, query: str, /, **parts: str) -> Check:
    """Return a check; `query` must give the columns `subject` and `detail`, `$name` in it is one of `parts`."""
    limited = "select subject, detail from ($query) as found limit $rows"
    return Check(invariant, what, text(fill(limited, query=fill(query, **parts), rows=str(ROWS_MAX))))


def run_all(checks: Iterable[Check], connection: Connection, parameters: Mapping[str, Any]) -> list[Breach]:
    """Return what the checks find, in their order."""
    return [breach for each in checks for breach in each.run(connection, parameters)]
