"""One attempt to deliver, outside any transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog

from app.core.deliveries.delivery_rules import is_success
from app.core.errors import ProviderCallFailed
from app.core.signatures import sign_standard
from app.runtime.metrics import DELIVERY_SECONDS
from app.runtime.runtime import Runtime
from app.services.deliveries.delivery_claims import DueDelivery

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt brought: the status and start of an answer, or none; `error` says why it failed."""

    claim: DueDelivery
    seconds: float
    status_code: int | None = None
    answer: bytes | None = field(default=None, repr=False)
    retry_after_seconds: float | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the endpoint has received the message."""
        return self.status_code is not None and is_success(self.status_code)


def attempt(runtime: Runtime, delivery: DueDelivery) -> Attempt:
    """Send a delivery once and return what came of it."""
    started = time.monotonic()
    try:
        answer = runtime.endpoint_posts.post(delivery.url, _sign(delivery), delivery.message)
    except ProviderCallFailed as error:
        ended = Attempt(delivery, time.monotonic() - started, error=str(error))
    else:
        ended = Attempt(
            delivery,
            time.monotonic() - started,
            answer.status,
            answer.body,
            answer.retry_after_seconds,
            None if is_success(answer.status) else f"the endpoint answered {answer.status}",
        )
    DELIVERY_SECONDS.observe(ended.seconds)
    if not ended.is_success:
        log.info(
            "delivery_attempt_failed",
            delivery_id=str(delivery.delivery_id),
            endpoint_id=str(delivery.endpoint_id),
            attempt=delivery.attempts,
            error=ended.error,
            milliseconds=round(ended.seconds * 1000, 1),
        )
    return ended


def _sign(delivery: DueDelivery) -> dict[str, str]:
    """Return the headers of Standard Webhooks; the timestamp is this attempt's."""
    timestamp = str(int(time.time()))
    signatures = [sign_standard(key, delivery.webhook_id, timestamp, delivery.message) for key in delivery.keys]
    return {
        "Content-Type": "application/json",
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
