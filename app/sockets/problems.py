"""Refusals of the sockets process, as RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from flask import Response
from flask import json as flask_json


class Refused(Exception):
    """A request is answered with a problem; `errors` name the fields that are wrong."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors or []


def present_problem(refused: Refused) -> Response:
    """Return the answer to a refused request (CONTRACT section 3)."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
    }
    if refused.errors:
        body["errors"] = refused.errors
    response = Response(flask_json.dumps(body), refused.status, mimetype="application/problem+json")
    response.headers.extend(refused.headers)
    return response


def unavailable(detail: str) -> Refused:
    """Return the refusal for what will work again soon."""
    return Refused(503, detail, {"Retry-After": "1"})
