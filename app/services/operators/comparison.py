"""Leaves single payments to the next reconciliation where they cannot be compared now."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Protocol

import structlog
from sqlalchemy.exc import DBAPIError

from app.core.errors import ProviderCallFailed
from models import find_trouble

log = structlog.get_logger(__name__)

# So many payments may stay unanswered; with more of them the provider itself is unavailable.
UNANSWERED_MAX = 5


class Counts(Protocol):
    """Counts of payments that are left to the next run."""

    in_flight: int
    unanswered: int


@contextlib.contextmanager
def left_to_the_next_run(counts: Counts, payment_id: uuid.UUID | None) -> Iterator[None]:
    """Count a payment that is locked, or whose call to the provider failed, as in flight.

    Raise ProviderCallFailed where the calls of more than UNANSWERED_MAX payments failed.
    """
    try:
        yield
    except DBAPIError as error:
        if find_trouble(error) not in ("lock", "timeout"):
            raise
        log.warning("payment_not_compared", payment_id=str(payment_id), error=type(error.orig).__name__)
    except ProviderCallFailed:
        counts.unanswered += 1
        if counts.unanswered > UNANSWERED_MAX:
            raise
    else:
        return
    counts.in_flight += 1
