"""What an operation may cost PostgreSQL: the one table of these figures, and how far a measurement may be from it.

Who makes an operation cheaper or dearer changes its line in the same commit; a failing test prints the new line.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.integration.costs.meter import Cost

# Messages, statements and commits are those of the whole operation, records and bytes of the write-ahead log those of
# one payment of it. An operation's first statements in a session, which are prepared, are not among them.
TABLE = """
operation                           payments | messages  statements  commits | records  bytes
deposit accepted                           1 |        1           2        1 |    26.0   2740
provider called                            1 |        6          19        2 |    45.0   6679
providers called, one set                 40 |        6          19        2 |    35.7   5956
webhook received                           1 |        1           2        1 |    12.0   1683
webhook settled                            1 |        7          19        2 |    40.0   6390
webhooks settled, full batch             500 |        7          19        2 |    23.4   4310
"""
# An index more writes at least one record a payment. Rounds of the same work differ by a hundredth of their records
# (pages of indexes that split, heap pages that are pruned); the smallest of some rounds differs by half of that.
RECORDS_MARGIN = 0.6
# For the same reason. The records are counted, so a row more is seen in them; the bytes show rows that have got wider.
BYTES_MARGIN = 0.04


@dataclass(frozen=True, slots=True)
class Limit:
    """A line of the table."""

    payments: int
    messages: int
    statements: int
    commits: int
    records: float
    wal_bytes: int


def read_table(table: str) -> dict[str, Limit]:
    """Return the lines of a table by operation."""
    limits = {}
    for line in table.strip().splitlines()[1:]:
        name, figures = line[:35].strip(), line[35:].replace("|", " ").split()
        payments, messages, statements, commits, records, wal_bytes = figures
        limits[name] = Limit(
            int(payments), int(messages), int(statements), int(commits), float(records), int(wal_bytes)
        )
    return limits


LIMITS = read_table(TABLE)


def check(operation: str, cost: Cost) -> None:
    """Raise AssertionError where `cost`, of as many payments as the table says, differs from the table.

    Also where it is lower: a limit that is far above what is measured would let the next index pass unseen.
    """
    limit = LIMITS[operation]
    records, wal_bytes = cost.records / limit.payments, cost.wal_bytes / limit.payments
    line = (
        f"{operation:35}{limit.payments:9} | {cost.messages:8}  {cost.statements:10}  {cost.commits:7}"
        f" | {records:7.1f}  {wal_bytes:5.0f}"
    )
    held = (limit.messages, limit.statements, limit.commits)
    assert (cost.messages, cost.statements, cost.commits) == held, f"messages, statements or commits changed:\n{line}"
    assert abs(records - limit.records) <= RECORDS_MARGIN, f"records of the log changed:\n{line}"
    assert abs(wal_bytes / limit.wal_bytes - 1) <= BYTES_MARGIN, f"bytes of the log changed:\n{line}"
