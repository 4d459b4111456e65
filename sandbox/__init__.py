"""The sandbox: an external payment app that takes no real money.

It takes the role of a real provider and shares no code with the system that it pays into.
"""

from __future__ import annotations

import logging
import os

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from sandbox.delivery.courier import Courier
from sandbox.orphan import die_with_main_process
from sandbox.protocols import registry
from sandbox.settings import SandboxSettings
from sandbox.storage.store import Store
from sandbox.values.refusal import Refusal
from sandbox.web import answers, api, control, emulators, merchant_refunds, pages
from sandbox.web.emulated_calls import error_answer

__all__ = ["create_app"]

_log = logging.getLogger(__name__)

# The largest webhook CONTRACT section 4 takes; no request to a payment app needs more.
_LARGEST_REQUEST_BYTES = 256 * 1024


def create_app() -> Flask:
    """Build the WSGI application from the environment and start its courier.

    One process at a time may run on a data folder. Raise ValueError for a bad setting, FolderInUse for a taken folder.
    """
    die_with_main_process()
    settings = SandboxSettings.from_environment(os.environ)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_REQUEST_BYTES
    store = Store(settings.directory)
    courier = Courier(store, settings.retry_seconds, settings.public_url)
    app.extensions["sandbox"] = api.Parts(store, settings, courier)
    for blueprint in (
        api.blueprint,
        merchant_refunds.blueprint,
        control.blueprint,
        pages.blueprint,
        *emulators.blueprints(),
    ):
        app.register_blueprint(blueprint)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _failed)

    @app.get("/health")
    def health() -> Response:
        """Answer 200 while the store can be read."""
        store.reading().execute("SELECT 1 FROM merchants LIMIT 1").fetchone()
        return answers.ok({"status": "ok"})

    courier.start()
    return app


def _refused(refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise refusal
    return _error_answer(refusal)


def _http_error(error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = error.name.lower().replace(" ", "_")
    answer = _error_answer(Refusal(error.code or 500, code, error.description or error.name))
    for name, value in error.get_headers():
        if name in ("Allow", "Location", "Retry-After"):
            answer.headers[name] = value
    return answer


def _failed(error: Exception) -> Response:
    _log.error("request failed", exc_info=error)
    return _error_answer(Refusal(500, "internal_error", "the sandbox failed; its log says why"))


def _error_answer(refusal: Refusal) -> Response:
    """Return an error: a page for people, the protocol's form for programs."""
    _, room, *_ = f"{request.path}/".split("/")
    if room == "pay":
        return pages.guarded(Response(render_template("error.html", message=refusal.message), refusal.status))
    if room in registry.EMULATED:
        return error_answer(registry.EMULATED[room], refusal)
    return answers.error(refusal.status, refusal.code, refusal.message)
