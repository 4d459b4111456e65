"""Answers errors of web and sockets with problem documents (RFC 9457), never with a stack trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.core.problem_codes import describe_problem
from app.http.request_heads import read_request_id
from models import find_trouble

log = structlog.get_logger(__name__)

# A restart of PostgreSQL takes about this long; a provider that retries sooner meets the same outage.
RETRY_AFTER_SECONDS = 2


@dataclass(eq=False)
class Refused(Exception):
    """A request that is answered with a problem document; `errors` are `{field, message}` of each wrong field."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: list[dict[str, str]] = field(default_factory=list)
    code: str | None = None


def problem(
    status: int,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Response:
    """Return a problem document; `headers` replace those that its status has anyway.

    `code` is one of PROBLEM_CODES; None for the one of the status.
    """
    body = describe_problem(status, detail, code, read_request_id(request.environ))
    if errors:
        body["errors"] = errors
    response = jsonify(body)
    response.status_code = status
    response.content_type = "application/problem+json"
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response.headers.update(headers or {})
    return response


def present_refusal(refused: Refused) -> Response:
    """Return the problem document of a refusal."""
    return problem(refused.status, refused.detail, refused.errors, refused.headers, refused.code)


def register_errors(app: Flask, away: Refused, unexpected: Refused, *away_kinds: type[Exception]) -> None:
    """Answer every error of `app`: `away` where the database does not answer, `unexpected` where nothing else fits.

    `away_kinds` are more errors that mean the former.
    """

    def answer_away(error: Exception) -> Response:
        log.warning("database_away", error=type(error).__name__, request_id=read_request_id(request.environ))
        return present_refusal(away)

    def answer_unexpected(error: Exception) -> Response:
        log.exception("unexpected", exc_info=error, request_id=read_request_id(request.environ))
        return present_refusal(unexpected)

    def answer_database(error: DBAPIError) -> Response:
        # Some trouble, such as a read-only server, has no class of its own in the driver.
        return answer_away(error) if find_trouble(error) else answer_unexpected(error)

    def answer_http(error: HTTPException) -> Response:
        headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        return problem(error.code or 500, error.description or error.name, headers=headers)

    app.register_error_handler(Refused, present_refusal)
    for kind in (OperationalError, InterfaceError, PoolTimeout, *away_kinds):
        app.register_error_handler(kind, answer_away)
    app.register_error_handler(DBAPIError, answer_database)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, answer_unexpected)
