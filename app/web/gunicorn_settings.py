"""gunicorn's settings for the web process; imported in its main process, so no large library is loaded here.

gevent, because a request that waits (for a slow client, for a payment to change) then costs a greenlet and not a
thread; gunicorn, because it drops header names with underscores, which in WSGI equal those with hyphens.
docs/decisions/0012-own-http-half-in-gunicorn.md has the figures of the choice.
"""

from __future__ import annotations

import os
from typing import Any

from app.core.validation.addresses import url_host
from app.http.gunicorn_settings import *  # noqa: F403  # gunicorn reads the names of this module
from app.http.gunicorn_worker import prepare_listeners
from app.runtime.settings import Settings

_settings = Settings.from_environment()
bind = f"{url_host(_settings.bind)}:{_settings.port}"
workers = int(os.environ.get("SLUICE_WEB_WORKERS", "1"))
# Further connections wait in the accept queue: each one that is served can hold a body of up to a megabyte.
worker_connections = 1_000
# The heads of requests must arrive within this time, which is also how long an idle connection is kept.
keepalive = 10
limit_request_line = 8_190
limit_request_field_size = 8_190
on_starting = prepare_listeners


def post_fork(_server: Any, _worker: Any) -> None:
    """Make psycopg2 cooperative under gevent, before anything has opened a connection."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()


def post_worker_init(worker: Any) -> None:
    """Prepare the loaded application before the worker listens: connections, imports, garbage collection, keys."""
    from app.runtime.gc_tuning import freeze_gc
    from app.runtime.runtime import runtime
    from app.services.tenants.process_keys import keep_reporting
    from app.web.rate_limits import tenant_rates

    # The first request opens the connections, so that no client waits for them.
    worker.wsgi.test_client().get("/health/ready")
    # The first limiter imports a Redis client for some 40 ms, in which no other request of this process is answered.
    tenant_rates()
    freeze_gc()
    keep_reporting(runtime(), "door")
