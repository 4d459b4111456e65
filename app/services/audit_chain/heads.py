"""The heads of the chains of seals, kept in a file outside the database.

An attacker who can write to the database could replace a whole chain, but not the head that is kept elsewhere. The
file has one JSON line per chain: `{"tenant_id", "chain", "seals", "rows", "sha256"}`, the number of seals, the number
of rows in them, and the hash of the last seal. A line without `chain` is of chain 0.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import structlog
from sqlalchemy import Row, text

from app.runtime.runtime import Runtime
from app.services.audit_chain.seals import CHAINS
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from models import Database, tables

log = structlog.get_logger(__name__)

# Begins the subject of an alarm about a kept head; proofs raise alarms of the same kind about invariants.
_SUBJECT = "head "


class HeadFileError(ValueError):
    """A file of heads cannot be read."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the number of seals, of rows in them, and the last seal's hash in hex."""

    tenant_id: str
    chain: int
    number: int
    rows: int
    sha256: str

    @property
    def key(self) -> tuple[str, int]:
        """The tenant and the chain."""
        return self.tenant_id, self.chain


# (tenant, chain): what a head is found by.
_Key = tuple[str, int]

_READ = text(
    Template(
        """
        with recursive $chains
        select s.tenant_id, s.chain, s.number, s.last_position, encode(s.seal_sha256, 'hex') as sha256
        from chains c cross join lateral (
            select * from audit_seals a where a.tenant_id = c.tenant_id and a.chain = c.chain
            order by number desc limit 1) as s
        """
    ).substitute(chains=CHAINS)
)
_SEALS = text(
    "select s.tenant_id, s.chain, s.number, s.last_position, encode(s.seal_sha256, 'hex') as sha256"
    " from unnest(cast(:tenants as uuid[]), cast(:chains as smallint[]), cast(:numbers as bigint[]))"
    " as k(tenant_id, chain, number) join audit_seals s using (tenant_id, chain, number)"
)


def read_heads(database: Database, tenant_id: uuid.UUID | None = None) -> list[Head]:
    """Return the heads of all chains, or of one tenant's."""
    with database.transaction("auditor") as connection:
        rows = connection.execute(_READ, {"tenant_id": tenant_id}).all()
    return [_make_head(row) for row in rows]


def _make_head(row: Row[Any]) -> Head:
    return Head(str(row.tenant_id), row.chain, row.number, row.last_position, row.sha256)


def load_heads(path: str | Path) -> dict[_Key, Head]:
    """Return the heads in a file by tenant and chain; of several lines of one chain the one with most seals.

    Raise OSError, and HeadFileError for a line in another format.
    """
    heads, unreadable = _read_file(Path(path))
    for line_number in unreadable:
        raise HeadFileError(f"{path}, line {line_number} is no head of a chain of seals")
    return heads


def _read_file(path: Path) -> tuple[dict[_Key, Head], dict[int, str]]:
    """Return the heads in a file by tenant and chain, and the unreadable lines by their number."""
    heads: dict[_Key, Head] = {}
    unreadable: dict[int, str] = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), 1):
        try:
            values = json.loads(line)
            tenant_id, chain = str(uuid.UUID(values["tenant_id"])), int(values.get("chain", 0))
            head = Head(tenant_id, chain, int(values["seals"]), int(values["rows"]), str(values["sha256"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable[line_number] = line
            continue
        if head.key not in heads or heads[head.key].number < head.number:
            heads[head.key] = head
    return heads, unreadable


def find_broken_heads(database: Database, heads: list[Head]) -> list[Head]:
    """Return those of `heads` that match no seal in the database: the chain was cut off or rewritten."""
    with database.transaction("auditor") as connection:
        wanted = {
            "tenants": [uuid.UUID(head.tenant_id) for head in heads],
            "chains": [head.chain for head in heads],
            "numbers": [head.number for head in heads],
        }
        known = {_make_head(row) for row in connection.execute(_SEALS, wanted)}
    return [head for head in heads if head not in known]


def write_heads(database: Database, path: str | Path, heads: list[Head]) -> list[Head]:
    """Update the file to `heads`; return the kept heads that the chains in the database do not continue.

    A head that contradicts the database is evidence and is kept unchanged. So is an unreadable line, which does not
    prevent the update of other heads. Raise OSError.
    """
    target = Path(path)
    with _lock(target):
        kept, unreadable = _read_file(target) if target.exists() else ({}, {})
        if unreadable:
            log.error("seal_head_unreadable", path=str(path), lines=list(unreadable))
        touched = [kept[head.key] for head in heads if head.key in kept]
        broken = find_broken_heads(database, touched) if touched else []
        contradicted = {head.key for head in broken}
        grown = [
            head
            for head in heads
            if head.key not in contradicted and (head.key not in kept or kept[head.key].number < head.number)
        ]
        if grown:
            _replace(target, kept | {head.key: head for head in grown}, unreadable.values())
    return broken


def keep_heads(runtime: Runtime) -> None:
    """Write all heads to the file that the settings name; raise an alarm for kept ones that the chains contradict."""
    path = runtime.settings.seal_head_path
    if path is None:
        return
    try:
        broken = write_heads(runtime.database, path, read_heads(runtime.database))
    except OSError as error:
        # The next run writes what this one could not.
        log.warning("seal_head_not_written", path=path, error=str(error))
        return
    with runtime.database.transaction("worker") as connection:
        rows = [_make_alert(head) for head in broken]
        is_about_head = tables.alerts.c.subject.startswith(_SUBJECT)
        alerts.keep(connection, "books_broken", rows, "the kept heads hold", is_about_head)


def _make_alert(head: Head) -> AlertRow:
    detail = {"invariants": ["I12"], "chain": head.chain, "seal": head.number, "sha256": head.sha256}
    return AlertRow("books_broken", uuid.UUID(head.tenant_id), detail, f"{_SUBJECT}{head.sha256}")


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Serialise writers of the file: an older head must not replace a newer one."""
    with target.with_name(target.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(target: Path, heads: dict[_Key, Head], others: Iterable[str]) -> None:
    lines = [
        json.dumps(
            {
                "tenant_id": head.tenant_id,
                "chain": head.chain,
                "seals": head.number,
                "rows": head.rows,
                "sha256": head.sha256,
            }
        )
        for head in heads.values()
    ]
    written = target.with_name(target.name + ".new")
    with written.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join(line + "\n" for line in (*others, *lines)))
        file.flush()
        os.fsync(file.fileno())
    written.replace(target)
