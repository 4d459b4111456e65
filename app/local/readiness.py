"""Readiness checks: a process answers over HTTP, or a Celery worker answers a ping."""

from __future__ import annotations

import contextlib
import socket

import requests
from celery import Celery

from app.runtime.broker.queues import BROKER_ERRORS
from app.runtime.broker.urls import configure_broker

HEALTH_SECONDS = 2.0  # A process that cannot answer its health check within this is not ready yet.
BROKER_SECONDS = 1.0  # A broker on the same machine or network takes a connection within milliseconds.
# A worker answers within milliseconds, on a busy machine within this; the next try follows at once.
PING_SECONDS = 1.0


def url_answers(url: str) -> bool:
    """Return whether a GET is answered with 200."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=HEALTH_SECONDS).status_code == 200
        except requests.RequestException:
            return False


def node_answers(broker_url: str, node: str) -> bool:
    """Return whether a Celery worker of this machine answers a ping; `node` may end with `*`.

    False as well while the broker does not answer.
    """
    app = Celery(set_as_current=False)
    configure_broker(app, broker_url, seconds=BROKER_SECONDS)
    pattern = f"{node}@{socket.gethostname()}"
    # One connection attempt: the next check follows at once.
    with (
        contextlib.closing(app),
        contextlib.suppress(*BROKER_ERRORS),
        app.connection_for_write(connect_timeout=BROKER_SECONDS) as connection,
    ):
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
        bounds = {"timeout": PING_SECONDS, "limit": 1}
        return bool(
            app.control.broadcast("ping", connection=connection, reply=True, pattern=pattern, matcher="glob", **bounds)
        )
    return False
