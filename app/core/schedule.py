"""When a payment's next provider call is due, and how long to wait after a failure."""

from __future__ import annotations

import datetime
import random
from dataclasses import dataclass

from app.core.payment import Payment, Status

# A webhook usually comes within seconds; the first question after a minute costs little. Then five minutes for the
# time a person takes to pay, hourly for the day after, daily for what is left of a long window.
POLL_SECONDS = (60, 300, 300, 300, 300, 300)
POLL_HOURLY_SECONDS = 3_600
POLL_HOURLY_TIMES = 24
POLL_DAILY_SECONDS = 86_400

# Doubling from one second reaches ten minutes at the eleventh attempt; longer waits would outlast a usual expiry.
RETRY_SECONDS_FIRST = 1.0
RETRY_SECONDS_MAX = 600.0

# Work that the database's own trouble put off comes back within these seconds after it is over: soon enough for money
# that waits, seldom enough that a hundred rows behind one lock, each tried for a moment, leave a worker free.
POSTPONE_SECONDS_MAX = 20.0
# A statement that ran into its time limit costs a worker seconds each time.
POSTPONE_TIMEOUT_SECONDS_MAX = 60.0

# A provider's Retry-After is believed up to an hour; more would let one answer park a payment for good.
RETRY_AFTER_SECONDS_MAX = 3_600.0
# A provider that asks for fewer calls and names no time gets this much rest.
THROTTLE_SECONDS = 1.0

# A failing provider is probed after five seconds, then after twice as long each time, at last every twenty: with the
# wait for the probed call and the sweep, payments continue within thirty seconds of the provider's return. One call in
# twenty seconds burdens no provider.
PAUSE_SECONDS_FIRST = 5.0
PAUSE_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Call:
    """A provider call that is due: `action` is create, poll or close."""

    action: str
    due_at: datetime.datetime


def poll_seconds(polls: int) -> int:
    """Return the wait before poll number `polls` (from 0)."""
    if polls < len(POLL_SECONDS):
        return POLL_SECONDS[polls]
    if polls < len(POLL_SECONDS) + POLL_HOURLY_TIMES:
        return POLL_HOURLY_SECONDS
    return POLL_DAILY_SECONDS


def retry_seconds(attempts: int, retry_after_seconds: float | None = None) -> float:
    """Return the wait after the failed attempt number `attempts` (from 1): exponential, with equal jitter.

    At least `retry_after_seconds` where the provider named a time.
    """
    ceiling = min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * float(2 ** min(attempts - 1, 30)))
    # Jitter keeps the retries of an outage from coming back all at once; it needs no secrecy.
    wait = ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311  # nosec B311
    return max(wait, min(retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX))


def postpone_seconds(times: int, ceiling: float = POSTPONE_SECONDS_MAX) -> float:
    """Return the wait after postponement number `times` (from 1): doubling up to `ceiling`, with equal jitter."""
    return min(retry_seconds(times), ceiling * random.uniform(0.5, 1.0))  # noqa: S311  # nosec B311


def pause_seconds(opens: int, call_seconds: float = 0.0) -> float:
    """Return how long a failing provider is left alone for the pause number `opens` (from 1) in a row.

    Counted from the start of the failed call, which took `call_seconds`: a probe that hangs must not make the time to
    the next one longer.
    """
    pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2.0 ** min(opens - 1, 30))
    return max(PAUSE_SECONDS_FIRST, pause - call_seconds)


def probe_counts(opens: int) -> bool:
    """Return whether a failed probe after the pause number `opens` uses up an attempt of its call.

    Probes are evenly spaced and attempts are meant to be exponential: the first, second, fourth, eighth ... count.
    """
    return opens & (opens - 1) == 0


def throttle_seconds(retry_after_seconds: float | None) -> float:
    """Return how long a provider that asked to be called less often is left alone."""
    return min(retry_after_seconds or THROTTLE_SECONDS, RETRY_AFTER_SECONDS_MAX)


def _wait_seconds(payment: Payment, polls: int, now: datetime.datetime) -> int:
    is_slow = payment.committed_until is not None and now < payment.committed_until
    return POLL_DAILY_SECONDS if is_slow else poll_seconds(polls)


def next_call(payment: Payment, polls: int, now: datetime.datetime) -> Call | None:
    """Return the provider call that `payment` needs next, or None when nothing is left to ask.

    Open payments: create until the provider has them, then poll up to `expires_at`; daily once the payer has committed
    to a slow method. Ended without money: the
    session is closed, then the payment is still asked about until the monitoring window ends. Completed: nothing.
    """
    if payment.status is Status.COMPLETED:
        return None
    if payment.is_open:
        if payment.provider_reference is None and now < payment.expires_at:
            return Call("create", now)
        scheduled = now + datetime.timedelta(seconds=_wait_seconds(payment, polls, now))
        return Call("poll", min(scheduled, payment.awaited_until) if now < payment.awaited_until else scheduled)
    if payment.provider_reference is not None and not payment.session_closed:
        return Call("close", now)
    if payment.provider_reference is None and not payment.was_sent:
        return None
    due_at = now + datetime.timedelta(seconds=_wait_seconds(payment, polls, now))
    return Call("poll", due_at) if due_at <= payment.monitored_until else None
