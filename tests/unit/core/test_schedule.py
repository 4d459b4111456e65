"""When a payment's next provider call is due."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.payment import Policy, Status
from app.core.schedule import (
    RETRY_AFTER_SECONDS_MAX,
    RETRY_SECONDS_MAX,
    DueCall,
    next_call,
    pause_seconds,
    poll_seconds,
    probe_counts,
    retry_seconds,
    throttle_seconds,
)
from app.providers.calls.outgoing import TOTAL_SECONDS
from app.services.payments.calls.breaker import PROBE_AGAIN_SECONDS
from celeryconfig import beat_schedule
from tests.unit.core.payment_simulation import NOW, PAYMENT

SWEEP_SECONDS = float(str(beat_schedule["sweep"]["schedule"]))

MINUTE = datetime.timedelta(minutes=1)
OPEN = replace(PAYMENT, created_at=NOW, updated_at=NOW, expires_at=NOW + 30 * MINUTE)
PROCESSING = replace(OPEN, status=Status.PROCESSING, provider_reference="A", was_sent=True)


def test_polls_come_after_a_minute_then_five_then_hourly_then_daily() -> None:
    assert [poll_seconds(number) for number in range(8)] == [60, 300, 300, 300, 300, 300, 3600, 3600]
    assert poll_seconds(29) == 3600
    assert poll_seconds(30) == poll_seconds(10_000) == 86_400


@given(st.integers(1, 1000))
def test_retries_double_up_to_ten_minutes_with_jitter_below(attempts: int) -> None:
    ceiling = min(RETRY_SECONDS_MAX, 2.0 ** min(attempts - 1, 40))
    assert ceiling / 2 <= retry_seconds(attempts) <= ceiling


@given(st.integers(1, 50), st.floats(0, 1e9))
def test_a_providers_own_time_is_kept_up_to_an_hour(attempts: int, named: float) -> None:
    wait = retry_seconds(attempts, named)
    assert wait >= min(named, RETRY_AFTER_SECONDS_MAX)
    assert wait <= max(RETRY_SECONDS_MAX, RETRY_AFTER_SECONDS_MAX)


def test_a_new_payment_is_created_at_once() -> None:
    assert next_call(OPEN, 0, NOW) == DueCall("create", NOW)


def test_a_payment_whose_time_is_up_is_looked_up_and_not_created() -> None:
    late = OPEN.expires_at + MINUTE
    call = next_call(OPEN, 0, late)
    assert call is not None
    assert (call.action, call.due_at > late) == ("poll", True)


def test_an_open_payment_is_polled_and_at_the_latest_when_its_time_is_up() -> None:
    assert next_call(PROCESSING, 0, NOW) == DueCall("poll", NOW + MINUTE)
    assert next_call(PROCESSING, 1, NOW) == DueCall("poll", NOW + 5 * MINUTE)
    # The hourly poll would come after the expiry, so the expiry's own comes first.
    assert next_call(PROCESSING, 6, NOW) == DueCall("poll", PROCESSING.expires_at)


@pytest.mark.parametrize("polls", [0, 5, 6, 29, 30, 500])
def test_an_expired_payment_that_stays_open_is_asked_about_later_not_in_a_loop(polls: int) -> None:
    now = PROCESSING.expires_at + MINUTE
    call = next_call(PROCESSING, polls, now)
    assert call is not None
    assert call.due_at - now == datetime.timedelta(seconds=poll_seconds(polls))


def test_a_completed_payment_needs_nothing_more() -> None:
    assert next_call(replace(PROCESSING, status=Status.COMPLETED), 0, NOW) is None


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.FAILED])
def test_an_ended_payment_is_closed_then_watched_until_the_window_ends(status: Status) -> None:
    ended = replace(PROCESSING, status=status, policy=Policy(monitoring_seconds=3600))
    assert next_call(ended, 0, NOW) == DueCall("close", NOW)
    closed = replace(ended, session_closed=True)
    assert next_call(closed, 0, NOW) == DueCall("poll", NOW + MINUTE)
    edge = closed.expires_at + datetime.timedelta(seconds=3600)
    assert next_call(closed, 0, edge - MINUTE) == DueCall("poll", edge)
    assert next_call(closed, 0, edge - MINUTE + datetime.timedelta(seconds=1)) is None


def test_an_ended_payment_the_provider_never_heard_of_is_left_alone() -> None:
    assert next_call(replace(OPEN, status=Status.CANCELLED), 0, NOW) is None


def test_an_ended_payment_that_may_have_reached_the_provider_is_watched() -> None:
    assert next_call(replace(OPEN, status=Status.CANCELLED, was_sent=True), 0, NOW) == DueCall("poll", NOW + MINUTE)


def test_pauses_double_from_five_to_twenty_seconds() -> None:
    assert [pause_seconds(opens) for opens in (1, 2, 3, 4, 7, 1000)] == [5, 10, 20, 20, 20, 20]
    # Counted from the start of the call that failed, but never so short that calls follow each other.
    assert [pause_seconds(opens, 10.0) for opens in (1, 2, 3, 4)] == [5, 5, 10, 10]


def test_a_pause_outlasts_the_providers_return_by_less_than_thirty_seconds() -> None:
    # A probe that hangs until it is given up, the pause, the wait of the probed call, two sweeps.
    for opens in (1, 2, 3, 100):
        for call_seconds in (0.0, TOTAL_SECONDS):
            assert call_seconds + pause_seconds(opens, call_seconds) + PROBE_AGAIN_SECONDS + 2 * SWEEP_SECONDS <= 30


def test_probes_count_as_attempts_at_doubling_distances() -> None:
    assert [opens for opens in range(1, 100) if probe_counts(opens)] == [1, 2, 4, 8, 16, 32, 64]


def test_retry_after_is_believed_up_to_a_bound() -> None:
    assert (throttle_seconds(None), throttle_seconds(7), throttle_seconds(1e9)) == (1, 7, RETRY_AFTER_SECONDS_MAX)
