"""Declares the metrics of this process; those of rows are read by `app.services.upkeep.backlog`."""

from __future__ import annotations

import functools

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from sqlalchemy import Engine, event

# A second series for every counter, which no rule reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

# From a millisecond to the ten seconds after which a provider call is given up.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RINGS_FAILED = Counter("sluice_rings_failed", "Doorbells that could not be rung; the sweep rings for them.", ["queue"])
WEBHOOKS_RECEIVED = Counter("sluice_webhooks_received", "Deliveries stored or recognised.", ["outcome"])
POKES_RECEIVED = Counter("sluice_pokes_received", "Notifications that nobody signed, by what they led to.", ["outcome"])
WEBHOOKS_REFUSED = Counter("sluice_webhooks_refused", "Deliveries refused, by reason.", ["reason"])
WEBHOOKS_SETTLED = Counter("sluice_webhooks_settled", "Webhooks settled, by verdict.", ["verdict"])
SETTLE_BATCH = Histogram(
    "sluice_settle_batch_rows", "Webhooks per settled batch.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
PROVIDER_CALLS = Counter("sluice_provider_calls", "Calls to providers.", ["adapter", "action", "outcome"])
PROVIDER_SECONDS = Histogram(
    "sluice_provider_call_seconds", "Time of calls to providers.", ["adapter", "action"], buckets=SECONDS_BUCKETS
)
DELIVERIES = Counter(
    "sluice_deliveries",
    "Attempts to deliver to tenants' endpoints, by what became of the delivery.",
    ["outcome"],
)
DELIVERY_SECONDS = Histogram(
    "sluice_delivery_seconds", "Time of attempts to deliver to tenants' endpoints.", buckets=SECONDS_BUCKETS
)
AUTH_FAILURES = Counter(
    "sluice_auth_failures", "Refused credentials, by the door where they came and whether they had the form of one.",
    ["door", "form"],
)  # fmt: skip
REQUESTS = Counter("sluice_http_requests", "Requests answered.", ["rule", "method", "status"])
REQUEST_SECONDS = Histogram(
    "sluice_http_request_seconds", "Time to answer a request.", ["rule", "method"], buckets=SECONDS_BUCKETS
)
SOCKETS_OPEN = Gauge("sluice_sockets_open", "Live sockets and streams.", ["kind"], multiprocess_mode="livesum")
SOCKETS_DROPPED = Counter("sluice_sockets_dropped", "Sockets closed by us, by reason.", ["reason"])
NOTIFICATIONS_PUBLISHED = Counter("sluice_notifications_published", "Notifications numbered and published.")
DATABASE_TROUBLE = Counter(
    "sluice_database_trouble",
    "Work that the database's own trouble put off, by queue and kind of trouble.",
    ["queue", "trouble"],
)
HINTS_REJECTED = Counter("sluice_hints_rejected", "Messages on Redis pub/sub that are no hints of Sluice.")
REDIS_KEYS_REPLACED = Counter(
    "sluice_redis_keys_replaced", "Keys removed from Redis because they had a wrong type or value."
)
SUBSCRIPTION_UP = Gauge(
    "sluice_subscription_up",
    "Whether this process receives hints over Redis pub/sub.",
    ["listener"],
    multiprocess_mode="livemin",
)
TASKS = Counter("sluice_tasks", "Doorbells answered, by task and outcome.", ["task", "outcome"])
POOL_IN_USE = Gauge(
    "sluice_pool_connections_in_use", "Database connections taken from the pool.", multiprocess_mode="livesum"
)


def _start_at_zero(counter: Counter | Gauge, *values: str) -> None:
    """Create the series at zero: one that appears with its first event hides that event from rules on increases."""
    for value in values:
        counter.labels(value)


_start_at_zero(RINGS_FAILED, "settle", "provider", "notify", "deliver")
_start_at_zero(DELIVERIES, "delivered", "pending", "failed")
_start_at_zero(WEBHOOKS_RECEIVED, "stored", "duplicate", "conflict")
_start_at_zero(POKES_RECEIVED, "stored", "repeated", "coalesced", "unknown")
_start_at_zero(
    WEBHOOKS_REFUSED,
    *("address", "doubled_header", "json", "media_type", "path", "provider_unusable", "signature", "timestamp"),
    *("too_large", "unknown_provider", "webhook_id"),
)
for _door in ("api", "sockets", "metrics"):
    for _form in ("missing", "malformed", "refused"):
        AUTH_FAILURES.labels(_door, _form)
_start_at_zero(WEBHOOKS_SETTLED, "applied", "duplicate", "ignored", "conflict", "dead_letter")
for _queue in ("settle", "provider", "notify", "deliver", "sweep"):
    for _trouble in ("lock", "timeout", "connection", "resources", "read_only"):
        DATABASE_TROUBLE.labels(_queue, _trouble)
_start_at_zero(SOCKETS_OPEN, "websocket", "sse")
_start_at_zero(SOCKETS_DROPPED, "slow_reader")


@functools.lru_cache(maxsize=1_024)  # a lookup of labels costs as much as the count; methods are chosen by clients
def _request_series(rule: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(rule, method, str(status)), REQUEST_SECONDS.labels(rule, method)


def count_request(rule: str, method: str, status: int, seconds: float) -> None:
    """Count a request that was answered with `status` after `seconds`."""
    answered, duration = _request_series(rule, method, status)
    answered.inc()
    duration.observe(seconds)


def count_pool(engine: Engine) -> None:
    """Count the connections of `engine` that are in use; an event each way, no lock of its own."""
    event.listen(engine, "checkout", lambda *_: POOL_IN_USE.inc())
    event.listen(engine, "checkin", lambda *_: POOL_IN_USE.dec())
