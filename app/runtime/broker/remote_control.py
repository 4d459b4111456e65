"""Celery's remote control of workers: which commands there are, and how they are answered."""

from __future__ import annotations

from typing import Any

from celery.app.control import Control
from celery.worker.control import Panel
from kombu.pidbox import Mailbox

# Remote control commands that only read, and those that Flower needs to receive events. Anyone who can write to Redis
# can broadcast a command: `cancel_consumer`, `rate_limit` or `time_limit` would stop all work silently.
REMOTE_CONTROL = frozenset(
    {
        *("ping", "active", "active_queues", "registered", "reserved", "scheduled", "revoked", "stats"),
        *("conf", "report", "query_task", "clock", "hello", "enable_events", "heartbeat"),
        *("dump_active", "dump_conf", "dump_reserved", "dump_revoked", "dump_schedule", "dump_tasks"),
    }
)

# Celery's own policy tries without end, with pauses of up to 30 s: a worker answers in its event loop, so it would do
# nothing else until then, and would not notice that its broker is away.
_TRIED_ONCE = {"max_retries": 0}


class OnceMailbox(Mailbox):
    """A mailbox whose replies are lost when the broker does not take them at once; whoever asked asks again."""

    def _publish_reply(self, *reply: Any, **options: Any) -> None:
        super()._publish_reply(*reply, retry_policy=_TRIED_ONCE, **options)  # type: ignore[no-untyped-call]


class RemoteControl(Control):  # type: ignore[misc]
    """Celery's remote control with that mailbox."""

    Mailbox = OnceMailbox


def limit_remote_control() -> None:
    """Remove from this process every remote control command that is not in REMOTE_CONTROL."""
    for name in set(Panel.data) - REMOTE_CONTROL:
        del Panel.data[name]
