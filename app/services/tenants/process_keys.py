"""Reports the fingerprints of this process's encryption keys, and reads the reports of all running processes.

A process that lacks the key with which secrets were re-encrypted cannot use them until it is restarted. The command
that re-encrypts checks these reports first.
"""

from __future__ import annotations

import datetime
import os
import socket
import threading
import time
from dataclasses import dataclass

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import SQLAlchemyError

from app.runtime.runtime import Runtime
from app.runtime.vault import fingerprint
from models import tables
from models.database import Role

log = structlog.get_logger(__name__)

# A restart with new keys is seen within fifteen seconds, at one small write per process.
REPORT_SECONDS = 15.0
# Three reports: a process without a report for so long has ended.
LIVE_SECONDS = 45

_REPORT = text("select report_keys(:process, :fingerprints)")


@dataclass(frozen=True, slots=True)
class ProcessKeys:
    """A running process, and the fingerprints of its keys in the order of SLUICE_ENCRYPTION_KEYS."""

    process: str
    fingerprints: tuple[str, ...]


def name_process() -> str:
    """Return the name of this process: its type, host and process number."""
    return f"{os.environ.get('SLUICE_PROCESS', 'process')}@{socket.gethostname()}:{os.getpid()}"


def report(runtime: Runtime, role: Role) -> None:
    """Report this process's keys. Raise SQLAlchemyError."""
    fingerprints = [fingerprint(key) for key in runtime.settings.encryption_keys]
    with runtime.database.transaction(role) as connection:
        connection.execute(_REPORT, {"process": name_process(), "fingerprints": fingerprints})


def keep_reporting(runtime: Runtime, role: Role) -> None:
    """Report this process's keys from now on, in a thread; a process without keys reports nothing."""
    if runtime.settings.encryption_keys:
        threading.Thread(target=_report_on, args=(runtime, role), name="key-reports", daemon=True).start()


def _report_on(runtime: Runtime, role: Role) -> None:
    while True:
        try:
            report(runtime, role)
        except SQLAlchemyError as error:
            log.info("keys_not_reported", error=type(error).__name__)
        time.sleep(REPORT_SECONDS)


def read_processes(runtime: Runtime) -> list[ProcessKeys]:
    """Return the processes that reported their keys within LIVE_SECONDS. Raise SQLAlchemyError."""
    keys = tables.process_keys
    fingerprints = func.array_agg(aggregate_order_by(keys.c.fingerprint, keys.c.place)).label("fingerprints")
    live = select(keys.c.process, fingerprints).where(keys.c.at > func.now() - datetime.timedelta(seconds=LIVE_SECONDS))
    with runtime.database.transaction("operator") as connection:
        rows = connection.execute(live.group_by(keys.c.process).order_by(keys.c.process)).all()
    return [ProcessKeys(row.process, tuple(row.fingerprints)) for row in rows]


def find_lacking(runtime: Runtime) -> list[str]:
    """Return the running processes that lack the key with which this process encrypts."""
    newest = fingerprint(runtime.settings.encryption_keys[0]) if runtime.settings.encryption_keys else ""
    return [one.process for one in read_processes(runtime) if newest not in one.fingerprints]
