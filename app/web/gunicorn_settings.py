"""gunicorn's settings for the web process; imported in its main process, so nothing heavy is loaded here.

gevent, because a request that waits (for a slow client, for a payment to change) then costs a greenlet and not a
thread; gunicorn, because it drops header names with underscores, which WSGI cannot tell from the real ones.
docs/ARCHITECTURE.md has the figures that the choice was made on.
"""

from __future__ import annotations

import os
from typing import Any

from app.core.validation.addresses import url_host
from app.http.gunicorn_worker import (
    FINISH_SECONDS,
    prepare_server,
    prepare_start,
    read_drain_seconds,
    refuse_without_workers,
)
from app.http.log_lines import LOG_CONFIG, SilentAccess
from app.runtime.settings import Settings

_settings = Settings.from_environment()
bind = f"{url_host(_settings.bind)}:{_settings.port}"
worker_class = "app.http.gunicorn_worker.DrainingWorker"
workers = int(os.environ.get("SLUICE_WEB_WORKERS", "1"))
# More than this wait in the listener's queue: each connection under way can hold a body of up to a megabyte.
worker_connections = 1_000
# The heads of requests must arrive within this time, which is also how long an idle connection is kept.
keepalive = 10
# The worker ends by itself before gunicorn would kill it; one second is for a busy machine.
graceful_timeout = int(read_drain_seconds() + FINISH_SECONDS + 1)
# gunicorn takes a boot for silence, and a boot takes 25 s on a slow, busy machine.
timeout = 90
limit_request_line = 8_190
limit_request_fields = 64
limit_request_field_size = 8_190
accesslog = None
logconfig_dict = LOG_CONFIG
logger_class = SilentAccess
control_socket_disable = True
when_ready = prepare_server
pre_fork = prepare_start
# gunicorn would believe a peer on loopback about the scheme and the script's name; TRUSTED_PROXIES alone says whom to.
forwarded_allow_ips = ""
forwarder_headers = ""


def post_fork(_server: Any, _worker: Any) -> None:
    """Make database calls give way to other requests; before anything has opened a connection."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()


def post_worker_init(worker: Any) -> None:
    """Prepare the loaded application before the worker listens: connections, imports, garbage, key reports."""
    from app.runtime.gc_tuning import freeze_gc
    from app.runtime.runtime import runtime
    from app.services.tenants.process_keys import keep_reporting
    from app.web.rate_limits import tenant_rates

    # The first request opens the connections; a caller who gets in need not wait for them.
    worker.wsgi.test_client().get("/health/ready")
    # The first limiter imports a Redis client for some 40 ms, in which no other request of this process is answered.
    tenant_rates()
    freeze_gc()
    keep_reporting(runtime(), "door")


def child_exit(server: Any, worker: Any) -> None:
    """Refuse callers if no worker is left, and take the gauges of the one that ended out of the metrics."""
    refuse_without_workers(server)
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
