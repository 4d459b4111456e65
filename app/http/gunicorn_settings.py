"""gunicorn's settings that web and sockets share; each of their settings files imports every name of this one.

Imported in gunicorn's main process, so no large library is loaded here. The settings that differ (`bind`, `keepalive`,
limits) and the hook `on_starting` are in `app.web.gunicorn_settings` and `app.sockets.gunicorn_settings`.
"""

from __future__ import annotations

import os
from typing import Any

from app.http.gunicorn_worker import (
    FINISH_SECONDS,
    prepare_server,
    prepare_start,
    read_drain_seconds,
    refuse_without_workers,
)
from app.http.log_lines import LOG_CONFIG, SilentAccess

worker_class = "app.http.gunicorn_worker.DrainingWorker"
# The worker ends by itself before gunicorn would kill it; one second is for a busy machine.
graceful_timeout = int(read_drain_seconds() + FINISH_SECONDS + 1)
# gunicorn takes a boot for silence, and a boot takes 25 s on a slow, busy machine.
timeout = 90
limit_request_fields = 64
# Addresses hold tickets, so that requests are not logged.
accesslog = None
logconfig_dict = LOG_CONFIG
logger_class = SilentAccess
# Its socket would be in the user's home folder.
control_socket_disable = True
when_ready = prepare_server
pre_fork = prepare_start
# gunicorn would believe a peer on loopback about the scheme and the script's name; only TRUSTED_PROXIES says which
# proxies are believed.
forwarded_allow_ips = ""
forwarder_headers = ""


def child_exit(server: Any, worker: Any) -> None:
    """Refuse connections if no worker is left, and remove the gauges of the one that ended from the metrics."""
    refuse_without_workers(server)
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
