"""The process of live connections, to browsers and backends: WebSockets and event streams, on gevent workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def create_app() -> Flask:
    """Return the application for `gunicorn --config python:app.sockets.gunicorn_settings`.

    Raise app.runtime.settings.SettingsError where DATABASE_URL or REDIS_URL is missing.
    """
    # gunicorn's main process imports this package for its settings. Modules that open sockets or make locks must be
    # imported later, in the worker, where gevent has patched both.
    from app.sockets.application import build_app

    return build_app()
