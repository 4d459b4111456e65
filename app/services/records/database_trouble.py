"""Reports trouble of the database: a metric for each occurrence, one alarm for each episode."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.runtime.metrics import DATABASE_TROUBLE
from app.runtime.runtime import Runtime
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from models import Trouble, find_trouble, read_sqlstate

log = structlog.get_logger(__name__)

# Trouble of one kind that comes back within this time is the same episode, which has one alarm.
EPISODE_SECONDS = 900.0
# An episode that does not end is recorded in its alarm this often: without it the alarm is resolved.
RECORD_SECONDS = EPISODE_SECONDS / 3


@dataclass(slots=True)
class _Episode:
    """When this process last raised the alarm of the trouble, whose detail is kept until it is written."""

    alarmed_at: float
    unwritten: dict[str, str | None] | None


_lock = threading.Lock()
_episodes: dict[Trouble, _Episode] = {}


def note(runtime: Runtime, queue: str, error: BaseException) -> Trouble | None:
    """Count trouble that work of `queue` met and raise the episode's alarm; return None where `error` is none.

    Raise nothing: an alarm that cannot be written now is written by `write_alarms` later.
    """
    trouble = find_trouble(error)
    if trouble is None:
        return None
    DATABASE_TROUBLE.labels(queue, trouble).inc()
    now = time.monotonic()
    with _lock:
        known = _episodes.get(trouble)
        if known is not None and now - known.alarmed_at < RECORD_SECONDS:
            return trouble
        # The statement and its values are left out: they are about a person.
        first_line = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0]
        detail = {"trouble": trouble, "queue": queue, "sqlstate": read_sqlstate(error), "error": first_line}
        _episodes[trouble] = _Episode(now, detail)
    log.warning("database_trouble", **detail)
    write_alarms(runtime)
    return trouble


def note_or_log(runtime: Runtime, queue: str, error: BaseException, event: str, **about: object) -> Trouble | None:
    """Note trouble as `note` does, and log any other error with its trace."""
    trouble = note(runtime, queue, error)
    if trouble is None:
        log.error(event, exc_info=error, **about)
    return trouble


def forget_episodes() -> None:
    """Let the next trouble begin an episode of its own."""
    with _lock:
        _episodes.clear()


def write_alarms(runtime: Runtime) -> None:
    """Write the alarms that could not be written while the trouble lasted; cost nothing where there is none."""
    with _lock:
        waiting = [(trouble, one.unwritten) for trouble, one in _episodes.items() if one.unwritten]
    for trouble, detail in waiting:
        try:
            with runtime.database.transaction("worker") as connection:
                alerts.write(connection, [AlertRow("database_trouble", None, dict(detail or {}), trouble)])
        except SQLAlchemyError:
            return
        with _lock:
            _episodes[trouble].unwritten = None
