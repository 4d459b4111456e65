"""What keeps one payment from stopping the comparison of a period."""

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

# One payment that the provider does not answer about is left out; more of them, and it is the provider that is away.
UNANSWERED_MAX = 5


class Counts(Protocol):
    """A report's counts of payments that are left to the next run."""

    in_flight: int
    unanswered: int


@contextlib.contextmanager
def left_to_the_next_run(counts: Counts, payment_id: uuid.UUID | None) -> Iterator[None]:
    """Count a payment that is locked, or that the provider does not answer about, as in flight.

    Raise ProviderCallFailed where the provider has not answered about more than UNANSWERED_MAX.
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
