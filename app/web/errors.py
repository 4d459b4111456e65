"""From errors to answers, in one table: RFC 9457 problems, never a stack trace."""

from __future__ import annotations

import http
from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from app.core.errors import RequestRejected, WebhookRejected
from app.core.strict_json import JsonError
from models import find_trouble

log = structlog.get_logger(__name__)

# A restart of PostgreSQL takes about this long; a provider that retries sooner meets the same outage.
RETRY_AFTER_SECONDS = 2


def problem(
    status: int, detail: str, errors: list[dict[str, str]] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return a problem document as the answer."""
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
    """Return pydantic's errors as `{field, message}`, without what was sent."""
    return [
        {
            "field": ".".join(str(part) for part in item["loc"] if part != "[key]") or "body",
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def register_errors(app: Flask) -> None:
    """Connect every kind of error with its answer."""
    for kind, answer in _ANSWERS.items():
        app.register_error_handler(kind, answer)


def _http(error: HTTPException) -> Response:
    allowed = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(allowed)} if allowed else None
    return problem(error.code or 500, error.description or error.name, headers=headers)


def _away(error: Exception) -> Response:
    log.warning("database_away", error=type(error).__name__)
    return problem(503, "The database does not answer; nothing was done. Try again.")


def _database(error: DBAPIError) -> Response:
    # A read-only server's refusal, for one, is of no class of its own in the driver.
    return _away(error) if find_trouble(error) else _unexpected(error)


def _unexpected(error: Exception) -> Response:
    log.exception("unexpected", exc_info=error)
    return problem(500, "Something unexpected happened; it has been logged.")


# Flask takes the most specific class; the order is for the reader.
_ANSWERS: dict[type[Exception], Callable[[Any], Response]] = {
    RequestRejected: lambda error: problem(error.status, str(error), error.errors),
    WebhookRejected: lambda error: problem(error.status, str(error)),
    JsonError: lambda error: problem(400, str(error)),
    ValidationError: lambda error: problem(422, "The request has errors.", field_errors(error)),
    OperationalError: _away,
    InterfaceError: _away,
    PoolTimeoutError: _away,
    DBAPIError: _database,
    HTTPException: _http,
    Exception: _unexpected,
}
