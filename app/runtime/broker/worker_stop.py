"""Bounds how long a Celery worker takes to end, whatever its broker, its database and its tasks do.

Celery's warm shutdown has no bound of its own: it waits for running tasks, and for a broker that has stopped answering
it waits without end, as do the processes of its pool.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import threading
import time
from typing import Any

import structlog
from billiard.process import active_children
from celery import signals
from celery.worker import state

from app.runtime.parent_death import die_with_parent

log = structlog.get_logger(__name__)

# Time for running tasks when a worker is asked to stop (s): shorter than the ten seconds in which a stack must be down.
# A call to a provider may take those ten; its row is due again when its lease ends.
FINISH_SECONDS = 4.0

_main_pid = 0
# One byte, not zero once the worker is asked to stop; the processes of its pool share it.
_asked = mmap.mmap(-1, 1)


def bound_stop() -> None:
    """Make this process end within FINISH_SECONDS of SIGTERM, and its pool with it if it becomes a worker."""
    global _main_pid
    _main_pid = os.getpid()
    signals.worker_process_init.connect(_die_with_worker, weak=False)
    signals.worker_shutting_down.connect(_start_countdown, weak=False)
    if os.environ.get("SLUICE_PROCESS") == "flower":
        # Flower keeps nothing, and would take leave of a broker that may not answer, command by command.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_at_sigterm, name="exit-at-sigterm", daemon=True).start()


def is_stopping() -> bool:
    """Return whether the worker of this process has been asked to stop; a task that could continue ends then."""
    return _asked[0] != 0


def _exit_at_sigterm() -> None:
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


def _die_with_worker(**_: Any) -> None:
    die_with_parent(_main_pid)


def _start_countdown(**_: Any) -> None:
    """Exit after FINISH_SECONDS even if tasks still run; called when a worker is asked to stop.

    Celery would wait without a bound, or cancel the tasks, which fails for threads: it raises and exits with 1. Nothing
    is lost: rows that a task has claimed become due again.
    """
    _asked[0] = 1
    threading.Thread(target=_exit_late, name="exit-late", daemon=True).start()


def _exit_late() -> None:
    time.sleep(FINISH_SECONDS)
    log.warning("worker_left_work", tasks=[request.name for request in tuple(state.active_requests)])
    for child in active_children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    os._exit(0)
