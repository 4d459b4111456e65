"""gunicorn's settings for the sockets process; imported in its main process, so no large library is loaded here."""

from __future__ import annotations

import os
import resource
import signal
from types import FrameType
from typing import Any

from app.core.validation.addresses import url_host
from app.http.gunicorn_settings import *  # noqa: F403  # gunicorn reads the names of this module
from app.http.gunicorn_worker import DrainingWorker, prepare_listeners

# Ten thousand sockets with room for health checks, handshakes under way and streams that are just ending.
worker_connections = 12_000
# Open files other than connections: listeners, database, Redis, logs, libraries.
OTHER_FILES = 200
# Connections left for other requests, so that a full process answers health checks.
OTHER_CONNECTIONS = 500

# Without a port any free one; the log names it.
bind = f"{url_host(os.environ.get('SLUICE_BIND', '127.0.0.1'))}:"
bind += os.environ.get("SLUICE_SOCKETS_PORT") or "0"
# One process holds one set of connections; more of them are more process types of this kind, behind a balancer.
workers = 1
# The heads of requests must arrive within this time, which is also how long an idle connection is kept.
keepalive = 5
# A handshake's head is small; a token, a ticket and an origin fit.
limit_request_line = 4_094
limit_request_field_size = 4_096


def on_starting(server: Any) -> None:
    """Raise the limit on open files of this process and its worker to the hard limit; bind without listening."""
    prepare_listeners(server)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * worker_connections if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def find_connections_max() -> int:
    """Return how many live connections this process may hold."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = worker_connections if files == resource.RLIM_INFINITY else min(worker_connections, files - OTHER_FILES)
    return max(1, most - OTHER_CONNECTIONS)


def post_worker_init(worker: Any) -> None:
    """Start the listener, the periodic checks and the metrics, and close live connections when the drain begins."""
    import gevent

    from app.http import draining
    from app.http.metrics_server import serve_metrics
    from app.runtime.gc_tuning import freeze_gc
    from app.runtime.logs import configure_logging

    configure_logging()
    live = worker.wsgi.extensions["sluice.live"]
    live.start()
    serve_metrics()
    worker.wsgi.test_client().get("/health/ready")
    freeze_gc()
    draining.at_begin(lambda: gevent.spawn(live.hub.drain))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        before = signal.getsignal(number)

        def stop(signal_number: int, frame: FrameType | None, before: Any = before) -> None:
            if signal_number != signal.SIGTERM or not isinstance(worker, DrainingWorker):
                gevent.spawn(draining.begin)
            before(signal_number, frame)

        signal.signal(number, stop)
