"""Answers the errors of the web application with problem documents (RFC 9457)."""

from __future__ import annotations

from flask import Flask
from pydantic import ValidationError

from app.core.errors import RequestRejected, WebhookRejected
from app.core.strict_json import JsonError
from app.http import problems
from app.http.problems import Refused, problem


def register_errors(app: Flask) -> None:
    """Answer every error of the web application."""
    problems.register_errors(
        app,
        away=Refused(503, "The database does not answer; nothing was done. Try again."),
        unexpected=Refused(500, "Something unexpected happened; it has been logged."),
    )

    app.register_error_handler(
        RequestRejected, lambda error: problem(error.status, str(error), error.errors, code=error.code)
    )
    app.register_error_handler(WebhookRejected, lambda error: problem(error.status, str(error), code=error.code))
    app.register_error_handler(JsonError, lambda error: problem(400, str(error), code="json_invalid"))
    app.register_error_handler(
        ValidationError, lambda error: problem(422, "The request has errors.", field_errors(error))
    )


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """Return pydantic's errors as `{field, message}`, without the values that were sent."""
    return [
        {
            "field": ".".join(str(part) for part in item["loc"] if part != "[key]") or "body",
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
