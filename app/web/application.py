"""Builds the Flask application of the web process: routes, errors, the gate, counted requests."""

from __future__ import annotations

import time

from flask import Flask, Response, request

from app.http.client_address import ClientAddress
from app.http.problems import problem
from app.http.request_bodies import GuardedBodies
from app.runtime.logs import configure_logging
from app.runtime.metrics import count_request
from app.runtime.runtime import runtime
from app.web.answer_headers import AnswerHeaders
from app.web.errors import register_errors
from app.web.gate import allow_known_origin, register_gate
from app.web.lean_flask import LeanFlask
from app.web.paths import ObjectConverter, path_pattern
from app.web.routes import debits, documents, health, operators, payments, refunds, users, webhook_endpoints, webhooks

# The time at which a request was begun, in its environment.
_STARTED = "sluice.started"


def create_app() -> Flask:
    """Return the WSGI application, configured from the environment."""
    configure_logging()
    app = LeanFlask(__name__, static_folder="static", template_folder="templates")
    # Above every route's own limit: a larger body is refused unread.
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    # A path with a doubled slash is 404 instead of a redirect: providers do not follow redirects.
    app.url_map.merge_slashes = False
    app.url_map.converters["object"] = ObjectConverter
    app.wsgi_app = GuardedBodies(app.wsgi_app)  # type: ignore[method-assign]
    # Ring in a thread of its own: a request is answered as soon as its row is committed.
    runtime().doorbells.ring_aside()
    settings = runtime().settings
    app.wsgi_app = AnswerHeaders(app.wsgi_app)  # type: ignore[method-assign]
    # Trust exactly this many hops; the client itself can write the entries further left.
    app.wsgi_app = ClientAddress(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    for module in (payments, refunds, debits, webhook_endpoints, users, operators, webhooks, health, documents):
        app.register_blueprint(module.blueprint)
    if settings.is_demo:
        # Imported only here, so that the demo routes exist under `sluice up` only.
        from app.web.routes.demo import demo

        app.register_blueprint(demo)
    _point_to_sockets(app)
    register_errors(app)
    # Started before the gate, so that refused requests are counted as well.
    _count_requests(app)
    register_gate(app)
    return app


def _point_to_sockets(app: Flask) -> None:
    """Answer requests for live connections with the base URL of the sockets process (421)."""

    def elsewhere() -> Response:
        allow_known_origin()
        base = runtime().settings.sockets_public_url
        if base is None:
            return problem(421, "Live connections are served by the sockets process.")
        return problem(421, f"Live connections are served at {base}.", headers={"Content-Location": base})

    for path, endpoint in (("/ws", "ws"), ("/api/stream", "stream")):
        app.add_url_rule(path, endpoint, elsewhere)
        # Without a rule of its own the router answers an upgrade with 400.
        app.add_url_rule(path, f"{endpoint}_upgrade", elsewhere, websocket=True)


def _count_requests(app: Flask) -> None:
    @app.before_request
    def _start() -> None:
        request.environ[_STARTED] = time.perf_counter()

    @app.after_request
    def _count(response: Response) -> Response:
        current = request._get_current_object()  # type: ignore[attr-defined]  # the proxy looks it up at each use
        # By rule, not by path: paths are chosen by clients, and each would be a label of its own.
        rule = path_pattern(current.url_rule.rule) if current.url_rule else "unknown"
        now = time.perf_counter()
        count_request(rule, current.method, response.status_code, now - current.environ.get(_STARTED, now))
        return response
