"""The answers to health checks of web and sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask import Response, jsonify


def answer_health(
    failing: Sequence[str], degraded: Sequence[str] = (), detail: Mapping[str, object] | None = None
) -> Response:
    """Return 503 where a part is failing, else 200; both name the failing and the degraded parts."""
    status = "failing" if failing else "degraded" if degraded else "ok"
    response = jsonify({"status": status, "failing": [*failing, *degraded], "detail": detail or {}})
    response.status_code = 503 if failing else 200
    return response
