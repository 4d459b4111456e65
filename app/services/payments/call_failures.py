"""Failed provider calls: how many attempts they have used, and when they are tried again."""

from __future__ import annotations

import datetime

from sqlalchemy import Connection, and_, case, func

from app.core.errors import ProviderCallFailed, Throttled
from app.core.payment import OPEN
from app.core.schedule import RETRY_AFTER_SECONDS_MAX, probe_counts, retry_seconds
from app.services.payments import breaker
from app.services.payments.provider_claims import Claim
from app.services.payments.set_aside import release
from models import tables

_PAYMENTS = tables.payment_transactions

# A payment whose time is up and whose provider cannot be asked is cancelled after this many tries; money that
# arrives for it all the same is still credited.
EXPIRY_ATTEMPTS_MAX = 3


def count_attempts(claim: Claim, error: ProviderCallFailed) -> int:
    """Return how many attempts the call has used up with this failure."""
    if isinstance(error, Throttled):
        # A provider that names a time for the next call has not failed: the attempt counts only for an expired payment.
        is_free = bool(error.retry_after_seconds) and not claim.is_expired
        return claim.attempts - 1 if is_free else min(claim.attempts, max(claim.attempts_max - 1, 0))
    if claim.is_half_open and error.is_outage and not probe_counts(claim.opens):
        return claim.attempts - 1
    return claim.attempts


def is_past_asking(claim: Claim, error: ProviderCallFailed) -> bool:
    """Return whether an open payment has expired and its provider does not answer."""
    is_tried = claim.attempts >= min(EXPIRY_ATTEMPTS_MAX, claim.attempts_max)
    return claim.is_open and claim.is_expired and (is_tried or (claim.is_half_open and error.is_outage))


def retry(connection: Connection, claim: Claim, error: ProviderCallFailed, pause: float | None) -> None:
    """Let a failed call wait: by its attempts, or, for a paused provider, until shortly after its `pause`."""
    attempts = count_attempts(claim, error)
    wait = retry_seconds(attempts, error.retry_after_seconds)
    if pause is not None:
        asked = min(error.retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX)
        wait = max(pause + breaker.PROBE_AGAIN_SECONDS, asked)
    # An open payment is polled when its time is up at the latest.
    is_running = and_(_PAYMENTS.c.expires_at > func.now(), _PAYMENTS.c.status.in_(OPEN))
    due_at = func.least(func.now() + datetime.timedelta(seconds=wait), case((is_running, _PAYMENTS.c.expires_at)))
    connection.execute(release(claim, wait).values(attempts=attempts, due_at=due_at))
