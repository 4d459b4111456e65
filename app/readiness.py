"""Tells whether a process works, asked again and again while it starts."""

from __future__ import annotations

import contextlib
import socket

import requests
from celery import Celery

from app.celery_urls import kombu_url

HEALTH_SECONDS = 2.0  # A process that cannot answer its health check within this is not ready yet.
PING_SECONDS = 0.3  # A worker on the same machine answers within milliseconds; the next try comes at once.


def lives() -> bool:
    """Stand in for the check of a process without one: that it lives is what the supervisor sees by itself."""
    return True


def url_answers(url: str) -> bool:
    """Tell whether a GET is answered with 200."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=HEALTH_SECONDS).status_code == 200
        except requests.RequestException:
            return False


def node_answers(broker_url: str, node: str) -> bool:
    """Tell whether a Celery worker of this machine answers a ping."""
    app = Celery(broker=kombu_url(broker_url))
    with contextlib.closing(app):
        return bool(app.control.ping(destination=[f"{node}@{socket.gethostname()}"], timeout=PING_SECONDS, limit=1))
