"""Deliveries to tenants' webhook endpoints: what an answer means, and when the next attempt is made."""

from __future__ import annotations

import random
from enum import StrEnum

# CONTRACT section 11: the waits after the first failed attempt, the second, ...; with jitter they span 32 hours.
RETRY_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400)
ATTEMPTS_MAX = len(RETRY_SECONDS) + 1
# Added to a wait at random: never earlier than the schedule says, and not all of an outage at once.
JITTER_SHARE = 0.1
# An endpoint that has failed for so long without a success is disabled.
FAILING_SECONDS_MAX = 5 * 86_400

# Types of notifications, which endpoints may choose from.
EVENT_TYPES = (
    *("payment.redirect_ready", "payment.completed", "payment.failed", "payment.cancelled", "payment.review"),
    *("payment.reversed", "payment.reinstated", "payment.disputed", "refund.completed", "refund.failed"),
)
# What is sent to an endpoint alone, on request, and is no notification.
TEST_EVENT = "endpoint.test"

GONE = 410
# Answers with which an endpoint asks for fewer requests, where they name a time.
_THROTTLES = (429, 503)


class DeliveryStatus(StrEnum):
    """The states of a delivery; a redelivery makes an ended one pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DisabledReason(StrEnum):
    """Why an endpoint is disabled."""

    REQUESTED = "requested"
    GONE = "gone"
    FAILING = "failing"


def is_success(status_code: int) -> bool:
    """Return whether an answer with this status means that the delivery was received."""
    return 200 <= status_code < 300


def retry_wait_seconds(attempts: int, retry_after_seconds: float | None = None) -> float | None:
    """Return the wait after the failed attempt number `attempts` (from 1), None where it was the last.

    At least `retry_after_seconds` where the endpoint named a time.
    """
    if attempts >= ATTEMPTS_MAX:
        return None
    wait = RETRY_SECONDS[attempts - 1] * random.uniform(1.0, 1.0 + JITTER_SHARE)  # noqa: S311  # nosec B311
    return max(wait, retry_after_seconds or 0.0)


def throttle_wait_seconds(status_code: int | None, retry_after_seconds: float | None) -> float:
    """Return for how long the endpoint wants no request at all, 0 where it did not say so."""
    return retry_after_seconds or 0.0 if status_code in _THROTTLES else 0.0
