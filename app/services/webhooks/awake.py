"""Settles due webhooks and stays awake for what comes next."""

from __future__ import annotations

import time

from app.runtime.runtime import Runtime
from app.services.webhooks import settle


def settle_awake(runtime: Runtime) -> None:
    """Settle due webhooks, and those that come soon after the last, for RING_SECONDS_MAX at most."""
    deadline = time.monotonic() + settle.RING_SECONDS_MAX
    listener = runtime.doorbells.listener("settle")
    listener.answer()
    try:
        settle.settle_until(runtime, deadline, listener)
        while not settle.is_over(deadline) and listener.wait():
            settle.settle_until(runtime, deadline, listener)
    finally:
        listener.leave()
