"""From errors to answers, in one table: RFC 9457 problems, never a stack trace."""

from __future__ import annotations

import http
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from app.core.errors import RequestRejected, WebhookRejected
from app.core.strict_json import JsonError

log = structlog.get_logger(__name__)

# A restart of PostgreSQL takes about this long; a provider that retries sooner meets the same outage.
RETRY_AFTER_SECONDS = 2


def problem(
    status: int, detail: str, errors: list[dict[str, str]] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Returns a problem document as the answer."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    response = jsonify(body)
    response.status_code = status
    response.content_type = "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response.headers.update(headers or {})
    return response


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """Returns pydantic's errors as `{field, message}`, without what was sent."""
    return [
        {
            "field": ".".join(str(part) for part in item["loc"] if part != "[key]") or "body",
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def register_errors(app: Flask) -> None:
    """Connects every kind of error with its answer."""

    @app.errorhandler(RequestRejected)
    def _rejected(error: RequestRejected) -> Response:
        return problem(error.status, str(error), error.errors)

    @app.errorhandler(WebhookRejected)
    def _webhook_rejected(error: WebhookRejected) -> Response:
        return problem(error.status, str(error))

    @app.errorhandler(JsonError)
    def _unreadable(error: JsonError) -> Response:
        return problem(400, str(error))

    @app.errorhandler(ValidationError)
    def _invalid(error: ValidationError) -> Response:
        return problem(422, "The request has errors.", field_errors(error))

    @app.errorhandler(OperationalError)
    @app.errorhandler(InterfaceError)
    @app.errorhandler(PoolTimeoutError)
    def _away(error: Exception) -> Response:
        log.warning("database_away", error=type(error).__name__)
        return problem(503, "The database does not answer; nothing was done. Try again.")

    @app.errorhandler(DBAPIError)
    def _database(error: DBAPIError) -> Response:
        if error.connection_invalidated:
            return _away(error)
        return _unexpected(error)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        headers = {"Allow": ", ".join(error.valid_methods)} if getattr(error, "valid_methods", None) else None
        return problem(error.code or 500, error.description or error.name, headers=headers)

    @app.errorhandler(Exception)
    def _unexpected(error: Exception) -> Response:
        log.exception("unexpected", exc_info=error)
        return problem(500, "Something unexpected happened; it has been logged.")
