"""Health and metrics, for orchestrators and Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, Response, jsonify, make_response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.core.payment import Status
from app.http import draining
from app.http.client_address import is_from_this_machine
from app.http.health import answer_health
from app.http.metrics_server import collect_counters, is_token
from app.http.problems import problem
from app.runtime.runtime import runtime
from app.services.access.auth_failures import note_failure
from app.services.upkeep import backlog
from app.web.long_poll import are_deaf
from app.web.openapi.document import document

blueprint = Blueprint("watching", __name__)

# The gauges of rows by their names, without the prefix `sluice_`: help and label.
_HELP = {
    "payments": ("Payments by status.", "status"),
    "dead_letters_open": ("Dead letters that wait for a person.", "reason"),
    "alerts_last_day": ("Alarms raised within a day.", "kind"),
    "alerts_open": ("Alarms whose reason lasts.", "kind"),
    "provider_breakers_open": ("Providers paused because they fail.", "provider_id"),
    "heartbeat_age_seconds": ("Age of a periodic duty's last run.", "name"),
    "books_broken": ("Broken invariants that the last proof of the books found.", "mode"),
    "books_verified_age_seconds": ("Age of the last proof of the books.", "mode"),
}


@blueprint.get("/health/live")
def live() -> Response:
    """Report that this process answers."""
    return answer_health([])


@blueprint.get("/health/ready")
def ready() -> Response:
    """Report whether this process can store a row; without Redis it can, but reacts more slowly.

    A process that is about to stop reports `draining`, so that no new requests are sent to it.
    """
    failing = ["draining"] if draining.has_begun() else []
    failing += [] if backlog.check_database(runtime()) else ["postgresql"]
    return answer_health(failing, _find_degraded())


def _find_degraded() -> list[str]:
    """Return the optional parts that fail: Redis, ringing doorbells, or receiving hints for long polls."""
    if not backlog.check_redis(runtime()):
        return ["redis"]
    parts = {"ring": runtime().doorbells.is_failing, "subscription": are_deaf()}
    if parts["ring"]:
        # Without due work there would be no other ring that shows that ringing works again.
        runtime().doorbells.ring("notify")
    return [name for name, is_failing in parts.items() if is_failing]


@blueprint.get("/health/work")
def work() -> Response:
    """Report whether due work is being done, and the providers that cannot be used as they are configured."""
    try:
        state, unusable = backlog.read_work(runtime()), backlog.read_unusable(runtime())
    except SQLAlchemyError:
        return answer_health(["postgresql"])
    failing = backlog.find_overdue(state) + [f"provider {provider_id}" for provider_id in unusable]
    return answer_health(failing, detail={**state, "providers": unusable} if unusable else state)


class RowsCollector(Collector):
    """Gauges of rows and queues, read at each scrape."""

    def collect(self) -> Iterable[Metric]:
        """Yield one gauge family for each metric; none of rows while the database is away."""
        yield from _read_queues()
        try:
            state, counts = backlog.read_work(runtime()), backlog.read_counts(runtime())
        except SQLAlchemyError:
            yield GaugeMetricFamily("sluice_database_up", "Whether PostgreSQL answers.", 0)
            return
        yield GaugeMetricFamily("sluice_database_up", "Whether PostgreSQL answers.", 1)
        due = GaugeMetricFamily("sluice_due_rows", "Rows of work that are due.", labels=["queue"])
        oldest = GaugeMetricFamily("sluice_due_oldest_seconds", "Age of the oldest due row.", labels=["queue"])
        for queue, values in state.items():
            due.add_metric([queue], values["due"])
            oldest.add_metric([queue], values["oldest_seconds"])
        yield from (due, oldest)
        families = {
            name: GaugeMetricFamily(f"sluice_{name}", text, labels=[label]) for name, (text, label) in _HELP.items()
        }
        known = {(name, label) for name, label, _ in counts}
        # Zero for each status without payments: alerting rules on increases need a value before the first one.
        zeros = [("payments", status, 0.0) for status in Status if ("payments", status) not in known]
        for name, label, value in (*counts, *zeros):
            # A newer database may have counts that this process does not know yet.
            if name in families:
                families[name].add_metric([label], value)
        yield from families.values()


def _read_queues() -> Iterable[Metric]:
    lengths = backlog.read_queue_lengths(runtime())
    yield GaugeMetricFamily("sluice_redis_up", "Whether Redis answers.", int(backlog.check_redis(runtime())))
    yield GaugeMetricFamily("sluice_broker_up", "Whether the doorbells' broker answers.", int(lengths is not None))
    waiting = GaugeMetricFamily("sluice_ring_queue_length", "Doorbells that wait for a worker.", labels=["queue"])
    for queue, length in (lengths or {}).items():
        waiting.add_metric([queue], length)
    yield waiting


@blueprint.get("/metrics")
def metrics() -> Response:
    """Serve Prometheus text: this process type's counters, and the gauges of rows and queues."""
    if not _may_watch():
        return problem(403, "Metrics are for this machine, or for who has the metrics token.")
    registry = CollectorRegistry()
    registry.register(RowsCollector())
    response = make_response(generate_latest(registry) + collect_counters())
    response.content_type = CONTENT_TYPE_LATEST
    return response


def _may_watch() -> bool:
    settings = runtime().settings
    if settings.metrics_token is not None:
        given = request.headers.get("Authorization", "")
        if is_token(given, settings.metrics_token):
            return True
        note_failure(None, given.partition(" ")[2], request.remote_addr or "", "metrics")
        return False
    return is_from_this_machine(request, settings.trusted_proxies)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Serve the OpenAPI document."""
    return jsonify(document())
