"""The web application: accepts deposits and webhooks, answers reads, rings. It does no work of its own."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from app.http.client_address import ClientAddress
from app.http.problems import problem
from app.http.request_bodies import GuardedBodies
from app.runtime.logs import configure_logging
from app.runtime.metrics import REQUEST_SECONDS, REQUESTS
from app.runtime.runtime import runtime
from app.web.errors import register_errors
from app.web.gate import allow_known_origin, register_gate
from app.web.paths import ObjectConverter, path_pattern
from app.web.routes import documents, health, operators, payments, users, webhooks


def create_app() -> Flask:
    """Return the WSGI application, configured from the environment."""
    configure_logging()
    app = Flask(__name__, static_folder="static", template_folder="templates")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # Above every route's own limit: nothing larger is read at all.
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    # A path with a slash too many is not there, rather than somewhere else: providers do not follow redirects.
    app.url_map.merge_slashes = False
    app.url_map.converters["object"] = ObjectConverter
    app.wsgi_app = GuardedBodies(app.wsgi_app)  # type: ignore[method-assign]
    # A request has its answer as soon as its row is committed; the doorbell comes after it.
    runtime().doorbells.ring_aside()
    settings = runtime().settings
    # Exactly this many hops are believed; what stands further left in the header is the client's own word.
    app.wsgi_app = ClientAddress(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    for blueprint in (
        *(payments.blueprint, users.blueprint, operators.blueprint),
        *(webhooks.blueprint, health.blueprint),
    ):
        app.register_blueprint(blueprint)
    app.register_blueprint(documents.documents)
    if settings.is_demo:
        # Imported only here: outside `sluice up` the demo routes do not exist.
        from app.web.routes.demo import demo

        app.register_blueprint(demo)
    _point_to_sockets(app)
    register_errors(app)
    # The clock starts before the gate, so that what it refuses is counted as well.
    _count_requests(app)
    register_gate(app)
    return app


def _point_to_sockets(app: Flask) -> None:
    """Live connections belong to another process type: asked here, this one names the right base."""

    def elsewhere() -> Response:
        allow_known_origin()
        base = runtime().settings.sockets_public_url
        if base is None:
            return problem(421, "Live connections are served by the sockets process.")
        return problem(421, f"Live connections are served at {base}.", headers={"Content-Location": base})

    for path, endpoint in (("/ws", "ws"), ("/api/stream", "stream")):
        app.add_url_rule(path, endpoint, elsewhere)
        # The router answers 400 to an upgrade of a path that is not marked for it.
        app.add_url_rule(path, f"{endpoint}_upgrade", elsewhere, websocket=True)


def _count_requests(app: Flask) -> None:
    @app.before_request
    def _start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def _count(response: Response) -> Response:
        # By rule, never by path: a path is anybody's to choose.
        rule = path_pattern(request.url_rule.rule) if request.url_rule else "unknown"
        REQUESTS.labels(rule, request.method, str(response.status_code)).inc()
        REQUEST_SECONDS.labels(rule, request.method).observe(
            time.perf_counter() - g.get("started", time.perf_counter())
        )
        return response
