"""Give claimed work back, at the latest once the database takes writes again.

A claim counts an attempt before the work is tried. Where the database fails the work, the attempt is taken back. Where
that write fails too, this process keeps it in memory and retries, so that an outage costs no row an attempt. A late
write changes nothing: it names its claim, and the claim of another worker has another id (a fencing token).
"""

from __future__ import annotations

import datetime
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Update, func
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.exc import SQLAlchemyError

from app.runtime.runtime import Runtime
from app.services.queues import lock_waits
from models import find_trouble
from models.database import Role

log = structlog.get_logger(__name__)

# Half of the sweep's interval: the rows are given back before the sweep rings another worker for them.
RETRY_SECONDS = 1.0
# After this time others have claimed the rows, or the outage is a long one, in which attempts do not matter.
REMEMBERED_SECONDS = 900.0
# No worker locks a row that another has claimed: only sessions of others lock it, perhaps for long.
LOCK_MS = 100


@dataclass(frozen=True, slots=True, eq=False)
class _Debt:
    runtime: Runtime
    statement: Update
    role: Role
    until: float


_debts: deque[_Debt] = deque()
_lock = threading.Lock()
_payer: threading.Thread | None = None


def due_after(times: ColumnElement[int], waits: Sequence[float]) -> ColumnElement[datetime.datetime]:
    """Return the time after wait number `times` (from 1); the last of `waits` stands for all later ones."""
    all_waits = array([datetime.timedelta(seconds=seconds) for seconds in waits])
    return func.now() + all_waits[func.least(times, len(waits))]


def give_back(runtime: Runtime, statement: Update, role: Role = "worker") -> Sequence[Row[Any]]:
    """Run `statement` as `role` and return its rows; none where the database cannot take it now. Raise nothing.

    The statement names the claim that it gives back.
    """
    try:
        return _write(runtime, statement, role)
    except SQLAlchemyError as error:
        if find_trouble(error) is None:
            # The rows are due again when their leases end.
            log.exception("not_given_back")
        else:
            _remember(_Debt(runtime, statement, role, time.monotonic() + REMEMBERED_SECONDS))
        return ()


def pay_back(runtime: Runtime) -> bool:
    """Write the rows that `give_back` could not write; return whether the database takes writes. Raise nothing.

    A row that is locked stays for the next call.
    """
    with _lock:
        mine = [debt for debt in _debts if debt.runtime is runtime]
    for debt in mine:
        try:
            _write(runtime, debt.statement, debt.role)
        except SQLAlchemyError as error:
            trouble = find_trouble(error)
            if trouble and time.monotonic() < debt.until:
                if trouble in ("lock", "timeout"):
                    continue
                return False
            log.exception("not_given_back")
        with _lock:
            # Another thread may have written it: the second write found no claim to give back.
            if debt in _debts:
                _debts.remove(debt)
    return True


def _write(runtime: Runtime, statement: Update, role: Role) -> Sequence[Row[Any]]:
    with runtime.database.transaction(role) as connection:
        lock_waits.shorten(connection, LOCK_MS)
        result = connection.execute(statement)
        return result.all() if result.returns_rows else ()


def _remember(debt: _Debt) -> None:
    global _payer  # one thread per process, started on first use
    with _lock:
        _debts.append(debt)
        # Threads do not survive a fork.
        if _payer is None or not _payer.is_alive():
            _payer = threading.Thread(target=_pay_all, name="giving-back", daemon=True)
            _payer.start()


def _pay_all() -> None:
    while True:
        time.sleep(RETRY_SECONDS)
        with _lock:
            runtimes = list({id(debt.runtime): debt.runtime for debt in _debts}.values())
        for runtime in runtimes:
            pay_back(runtime)
        with _lock:
            if not _debts:
                return
