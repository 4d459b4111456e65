"""Runs what a doorbell asks for, so that one duty that fails keeps no other from being done."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from app.runtime.runtime import Runtime
from app.services.records import database_trouble

log = structlog.get_logger(__name__)


def run(runtime: Runtime, queue: str, *duties: Callable[[Runtime], object]) -> None:
    """Run `duties` one after the other, whether or not those before could be done.

    Trouble of the database is noted and is no failure of the task: the work waits. Any other error is raised once all
    had their turn, the first of several.
    """
    database_trouble.write_alarms(runtime)
    failure: Exception | None = None
    for duty in duties:
        try:
            duty(runtime)
        except Exception as error:  # ring code: the others are done all the same
            if database_trouble.note(runtime, queue, error) is None:
                log.exception("duty_failed", duty=getattr(duty, "__name__", repr(duty)))
                failure = failure or error
    if failure is not None:
        raise failure
