"""Runs the duties of a doorbell; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from app.runtime.runtime import Runtime
from app.services.records import database_trouble

log = structlog.get_logger(__name__)


def run(runtime: Runtime, queue: str, *duties: Callable[[Runtime], object]) -> None:
    """Run `duties` one after the other, whether or not earlier ones failed.

    Trouble of the database is recorded and is no failure of the task: the work waits. Of other errors the first is
    raised after all duties ran.
    """
    database_trouble.write_alarms(runtime)
    failure: Exception | None = None
    for duty in duties:
        try:
            duty(runtime)
        except Exception as error:  # one duty must not stop the others
            if database_trouble.note(runtime, queue, error) is None:
                log.exception("duty_failed", duty=getattr(duty, "__name__", repr(duty)))
                failure = failure or error
    if failure is not None:
        raise failure
