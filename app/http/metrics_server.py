"""Serves a process's counters as Prometheus text, on a separate port where the process has no web server."""

from __future__ import annotations

import hmac
import os
import re
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from app.services.access.auth_failures import note_failure

log = structlog.get_logger(__name__)

# A client on the same network sends its request at once; one that does not must not keep a thread.
REQUEST_SECONDS = 10
# Gauges of running processes only; counters of ended ones still count.
_LIVE_FILE = re.compile(r"gauge_live\w*_(\d+)\.db")


def collect_counters() -> bytes:
    """Return the counters of this process, or of all processes that share PROMETHEUS_MULTIPROC_DIR."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(REGISTRY)
    forget_dead_processes(Path(folder))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_dead_processes(folder: Path) -> None:
    """Remove the live gauges of processes that were killed and could not do so themselves."""
    for path in folder.glob("gauge_live*.db"):
        found = _LIVE_FILE.fullmatch(path.name)
        if found and not Path(f"/proc/{found[1]}").exists() and Path("/proc/self").exists():
            path.unlink(missing_ok=True)


def is_token(authorization: str, token: str) -> bool:
    """Return whether an Authorization header carries the metrics token."""
    scheme, _, given = authorization.partition(" ")
    return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"


def serve_metrics() -> None:
    """Serve this process's counters on SLUICE_METRICS_PORT where that is set.

    With SLUICE_METRICS_TOKEN it listens on SLUICE_BIND and requires the token; without one, on loopback only. A port
    that is taken is only logged: the process must do its work without metrics too.
    """
    port = os.environ.get("SLUICE_METRICS_PORT")
    if not port:
        return
    token = os.environ.get("SLUICE_METRICS_TOKEN") or None
    address = os.environ.get("SLUICE_BIND", "127.0.0.1") if token else "127.0.0.1"

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given = environ.get("HTTP_AUTHORIZATION", "")
        if token and not is_token(given, token):
            note_failure(None, given.partition(" ")[2], environ.get("REMOTE_ADDR", ""), "metrics")
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"The metrics token is needed.\n"]
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"The numbers are at /metrics.\n"]
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [collect_counters()]

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server_class: type[WSGIServer] = type("BoundMetricsServer", (_MetricsServer,), {"address_family": family})
    try:
        server = make_server(address, int(port), answer, server_class, _MetricsHandler)
    except OSError as error:
        log.warning("metrics_not_served", port=port, error=str(error))
        return
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _MetricsServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _MetricsHandler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, *_: object) -> None:
        """Log no line for a scrape."""
