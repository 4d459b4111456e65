"""Which encryption keys the running processes hold: each reports the fingerprints of its own while it runs.

Secrets that are re-encrypted with a key which a running process lacks are lost to that process until it is restarted,
so whoever re-encrypts looks here first.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.runtime.runtime import Runtime
from app.runtime.vault import fingerprint
from models.database import Role

log = structlog.get_logger(__name__)

REPORT_SECONDS = 15.0
# Three reports: a process that was silent for so long has ended.
LIVE_SECONDS = 45

_REPORT = text("select report_keys(:process, :fingerprints)")
_READ = text(
    "select process, array_agg(fingerprint order by place) as fingerprints from process_keys"
    " where at > now() - make_interval(secs => :seconds) group by process order by process"
)


@dataclass(frozen=True, slots=True)
class ProcessKeys:
    """A running process, and the fingerprints of its keys in the order of SLUICE_ENCRYPTION_KEYS."""

    process: str
    fingerprints: tuple[str, ...]


def name_process() -> str:
    """Return this process as it names itself: its type, host and process number."""
    return f"{os.environ.get('SLUICE_PROCESS', 'process')}@{socket.gethostname()}:{os.getpid()}"


def report(runtime: Runtime, role: Role) -> None:
    """Report this process's keys. Raise SQLAlchemyError."""
    fingerprints = [fingerprint(key) for key in runtime.settings.encryption_keys]
    with runtime.database.transaction(role) as connection:
        connection.execute(_REPORT, {"process": name_process(), "fingerprints": fingerprints})


def keep_reporting(runtime: Runtime, role: Role) -> None:
    """Report this process's keys from now on, in a thread of its own; a process without keys reports nothing."""
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
    """Return the processes that have reported their keys lately. Raise SQLAlchemyError."""
    with runtime.database.transaction("operator") as connection:
        rows = connection.execute(_READ, {"seconds": LIVE_SECONDS}).all()
    return [ProcessKeys(row.process, tuple(row.fingerprints)) for row in rows]


def find_lacking(runtime: Runtime) -> list[str]:
    """Return the running processes that lack the key which secrets are encrypted with here."""
    newest = fingerprint(runtime.settings.encryption_keys[0]) if runtime.settings.encryption_keys else ""
    return [one.process for one in read_processes(runtime) if newest not in one.fingerprints]
