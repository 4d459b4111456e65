"""The heads of the chains of seals, kept in a file outside the database.

An attacker who can write to the database could replace the whole chain, but not the head that is kept elsewhere. The
file has one JSON line per tenant: `{"tenant_id", "seals", "rows", "sha256"}`, the number of seals, the number of rows
in them, and the hash of the last seal.
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

import structlog
from sqlalchemy import text

from models import Database

log = structlog.get_logger(__name__)


class HeadFileError(ValueError):
    """A file of heads cannot be read."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain: the number of seals, of rows in them, and the last seal's hash in hex."""

    tenant_id: str
    number: int
    rows: int
    sha256: str


_READ = text(
    "select s.tenant_id, s.number, s.last_position, encode(s.seal_sha256, 'hex') as sha256 from tenants t"
    " cross join lateral (select * from audit_seals a where a.tenant_id = t.id order by number desc limit 1) as s"
    " where cast(:tenant_id as uuid) is null or t.id = :tenant_id"
)
_SEALS = text(
    "select s.tenant_id, s.number, s.last_position, encode(s.seal_sha256, 'hex') as sha256"
    " from unnest(cast(:tenants as uuid[]), cast(:numbers as bigint[])) as k(tenant_id, number)"
    " join audit_seals s on s.tenant_id = k.tenant_id and s.number = k.number"
)


def read_heads(database: Database, tenant_id: uuid.UUID | None = None) -> list[Head]:
    """Return the heads of all chains, or of one tenant's."""
    with database.transaction("auditor") as connection:
        rows = connection.execute(_READ, {"tenant_id": tenant_id}).all()
    return [Head(str(row.tenant_id), row.number, row.last_position, row.sha256) for row in rows]


def load_heads(path: str | Path) -> dict[str, Head]:
    """Return the heads in a file by tenant; of several lines of one tenant the one with most seals.

    Raise OSError, and HeadFileError for a line in another format.
    """
    heads, unreadable = _read_file(Path(path))
    for line_number in unreadable:
        raise HeadFileError(f"{path}, line {line_number} is no head of a chain of seals")
    return heads


def _read_file(path: Path) -> tuple[dict[str, Head], dict[int, str]]:
    """Return the heads in a file by tenant, and the unreadable lines by their number."""
    heads: dict[str, Head] = {}
    unreadable: dict[int, str] = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), 1):
        try:
            values = json.loads(line)
            head = Head(
                str(uuid.UUID(values["tenant_id"])), int(values["seals"]), int(values["rows"]), str(values["sha256"])
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable[line_number] = line
            continue
        if head.tenant_id not in heads or heads[head.tenant_id].number < head.number:
            heads[head.tenant_id] = head
    return heads, unreadable


def find_broken_heads(database: Database, heads: list[Head]) -> list[Head]:
    """Return those of `heads` that match no seal in the database: the chain was cut off or rewritten."""
    with database.transaction("auditor") as connection:
        rows = connection.execute(
            _SEALS, {"tenants": [uuid.UUID(head.tenant_id) for head in heads], "numbers": [h.number for h in heads]}
        ).all()
    known = {Head(str(row.tenant_id), row.number, row.last_position, row.sha256) for row in rows}
    return [head for head in heads if head not in known]


def write_heads(database: Database, path: str | Path, heads: list[Head]) -> list[Head]:
    """Update the file to `heads`; return the kept heads that the chains in the database do not continue.

    A head that contradicts the database is evidence and is kept unchanged. So is an unreadable line, which does not
    prevent the update of other tenants' heads. Raise OSError.
    """
    target = Path(path)
    with _lock(target):
        kept, unreadable = _read_file(target) if target.exists() else ({}, {})
        if unreadable:
            log.error("seal_head_unreadable", path=str(path), lines=list(unreadable))
        touched = [kept[head.tenant_id] for head in heads if head.tenant_id in kept]
        broken = find_broken_heads(database, touched) if touched else []
        contradicted = {head.tenant_id for head in broken}
        for head in heads:
            old = kept.get(head.tenant_id)
            if head.tenant_id not in contradicted and (old is None or old.number < head.number):
                kept[head.tenant_id] = head
        _replace(target, kept, unreadable.values())
    return broken


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Serialise writers of the file: an older head must not replace a newer one."""
    with target.with_name(target.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(target: Path, heads: dict[str, Head], others: Iterable[str]) -> None:
    lines = [
        json.dumps({"tenant_id": head.tenant_id, "seals": head.number, "rows": head.rows, "sha256": head.sha256})
        for head in heads.values()
    ]
    written = target.with_name(target.name + ".new")
    with written.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join(line + "\n" for line in (*others, *lines)))
        file.flush()
        os.fsync(file.fileno())
    written.replace(target)
