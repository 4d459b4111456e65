"""Schedules of provider calls: the next due time of a payment, and the wait after a failure."""

from __future__ import annotations

import datetime
import random
from dataclasses import dataclass

from app.core.capture import is_capture_due
from app.core.payment import Payment, Status
from app.core.refunds.records import Refund, RefundStatus

# A webhook usually comes within seconds, so the first poll after a minute is rare. Then every five minutes while a
# person pays, hourly for the day after, daily until the end of a long window.
POLL_SECONDS = (60, 300, 300, 300, 300, 300)
POLL_HOURLY_SECONDS = 3_600
POLL_HOURLY_TIMES = 24
POLL_DAILY_SECONDS = 86_400

# Doubling from one second reaches ten minutes at the eleventh attempt; longer waits would outlast a usual expiry.
RETRY_SECONDS_FIRST = 1.0
RETRY_SECONDS_MAX = 600.0

# Work that was postponed by trouble of the database is retried within this time after the trouble ends: soon enough
# for money that waits, rarely enough that a hundred rows behind one lock do not occupy a worker.
POSTPONE_SECONDS_MAX = 20.0
# A statement that ran into its time limit costs a worker seconds each time.
POSTPONE_TIMEOUT_SECONDS_MAX = 60.0

# The longest that a call for a refund may be under way: the lease of its claim.
REFUND_CALL_SECONDS = 30

# A provider's Retry-After is obeyed up to an hour; without a bound one answer could postpone a payment forever.
RETRY_AFTER_SECONDS_MAX = 3_600.0
# The pause for a provider that asks for fewer calls and names no time.
THROTTLE_SECONDS = 1.0

# A failing provider is probed after five seconds, then after twice as long each time, at last every twenty: with the
# wait for the probed call and the sweep, payments continue within thirty seconds of the provider's return. One call in
# twenty seconds burdens no provider.
PAUSE_SECONDS_FIRST = 5.0
PAUSE_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class DueCall:
    """A provider call that is due: `action` is create, advance (the capture), refund, poll or close."""

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
    """Return the duration of pause number `opens` (from 1) in a row of a failing provider.

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
    """Return the pause, in seconds, for a provider that asked for fewer calls."""
    return min(retry_after_seconds or THROTTLE_SECONDS, RETRY_AFTER_SECONDS_MAX)


def _wait_seconds(payment: Payment, polls: int, now: datetime.datetime) -> int:
    is_slow = payment.committed_until is not None and now < payment.committed_until
    return POLL_DAILY_SECONDS if is_slow else poll_seconds(polls)


def query_now(call: DueCall | None, now: datetime.datetime) -> DueCall:
    """Return the call that asks the provider at once, where the payment's next would be `call`.

    A create, an advance or a close has an answer with the state as well, so it stays. A refund waits for the answer.
    """
    return call if call is not None and call.action not in ("poll", "refund") else DueCall("poll", now)


def next_call(payment: Payment, polls: int, now: datetime.datetime) -> DueCall | None:
    """Return the provider call that `payment` needs next, None where it needs none.

    Open payments: create until the provider has them, capture once the payer has approved, then poll up to
    `expires_at`; daily once the payer has committed to a slow method. Ended without money: close the session, then
    poll until the monitoring window ends. Refund, whatever the state, until the outcome of each refund is known.
    """
    refund = _next_refund_call(payment, polls, now)
    if refund is not None or payment.status is Status.COMPLETED:
        return refund
    if payment.is_open:
        if payment.provider_reference is None and now < payment.expires_at:
            return DueCall("create", now)
        if payment.provider_reference is not None and is_capture_due(payment, now):
            return DueCall("advance", now)
        scheduled = now + datetime.timedelta(seconds=_wait_seconds(payment, polls, now))
        return DueCall("poll", min(scheduled, payment.awaited_until) if now < payment.awaited_until else scheduled)
    if payment.provider_reference is not None and not payment.session_closed:
        return DueCall("close", now)
    if payment.provider_reference is None and not payment.was_sent:
        return None
    due_at = now + datetime.timedelta(seconds=_wait_seconds(payment, polls, now))
    return DueCall("poll", due_at) if due_at <= payment.monitored_until else None


def _next_refund_call(payment: Payment, polls: int, now: datetime.datetime) -> DueCall | None:
    due = [_refund_due_at(one, polls, now) for one in payment.refunds if one.is_unfinished]
    return DueCall("refund", min(due)) if due else None


def _refund_due_at(refund: Refund, polls: int, now: datetime.datetime) -> datetime.datetime:
    if refund.called_at is None:
        return now
    # A call may be under way: without the provider's key for repeats a second one could refund twice.
    wait = poll_seconds(polls) if refund.status is RefundStatus.PROCESSING else REFUND_CALL_SECONDS
    return max(now, refund.called_at + datetime.timedelta(seconds=wait))
