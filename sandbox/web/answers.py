"""Answers of the payment API: honest ones, and faulty ones that a script asks for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

# Longer than the usual read timeout of HTTP clients.
_HOLD_SECONDS = 30.0
# Far above the size that a client should read of an answer about one payment.
_OVERSIZED_BYTES = 10 * 1024 * 1024
_CHUNK = b" " * 65_536


def encode(value: object) -> bytes:
    """Return a JSON answer's bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def plain(status: int, payload: bytes) -> Response:
    """Return a JSON answer."""
    return Response(payload, status, content_type="application/json")


def ok(value: object) -> Response:
    """Return a value as JSON with status 200."""
    return plain(200, encode(value))


def error(status: int, code: str, message: str) -> Response:
    """Return an error in the API's one form."""
    return plain(status, encode({"error": {"code": code, "message": message}}))


def shown(section: dict[str, Any] | None, honest: Response) -> Response:
    """Return an honest answer about a payment with the fields that a script shows in place of the true ones."""
    fields = {} if section is None else section.get("show", {})
    if not fields or honest.status_code >= 300:
        return honest
    return plain(honest.status_code, encode(json.loads(honest.get_data()) | fields))


def hides_effect(section: dict[str, Any] | None) -> bool:
    """Return whether the script suppresses the call's effect.

    Its `effect` decides; without that, a status or a redirect suppresses the effect and nothing else does.
    """
    if section is None:
        return False
    refused = "status" in section or section.get("answer") == "redirect"
    return not section.get("effect", not refused)


def _own_fault(status: int, message: str) -> Response:
    # A refusal that a script asks for is one of the payment; other codes are about the request.
    return error(status, "payment_declined" if status in (400, 422) else "scripted", message)


def spoiled(
    section: dict[str, Any] | None,
    honest: Response,
    elsewhere: str,
    fault: Callable[[int, str], Response] = _own_fault,
) -> Response:
    """Return the answer that a script asks for in place of the honest one, after the delay that it asks for.

    `elsewhere` is the target of a redirect for which the script names no location; `fault` makes an error's answer.
    """
    if section is None:
        return honest
    time.sleep(section.get("delay", 0))
    kind = section.get("answer")
    if kind == "timeout":
        time.sleep(section.get("hold", _HOLD_SECONDS))
        return _cut(honest, 0)
    if kind == "torn":
        return _cut(honest, len(honest.get_data()) // 2)
    if kind == "oversized":
        return _oversized(honest, section.get("bytes", _OVERSIZED_BYTES))
    if kind == "not_json":
        return Response("<html><title>Gateway</title><p>Please stand by.</p></html>", section.get("status", 200))
    return _with_status(section, honest, elsewhere, fault)


def _with_status(
    section: dict[str, Any], honest: Response, elsewhere: str, fault: Callable[[int, str], Response]
) -> Response:
    redirect = section.get("answer") == "redirect"
    status = section.get("status", 307 if redirect else None)
    if status is None:
        return honest
    answer = fault(status, section.get("message", "a script asked for this answer"))
    if redirect or status < 400:
        answer.headers["Location"] = section.get("location", elsewhere)
    if "retry_after" in section:
        answer.headers["Retry-After"] = str(section["retry_after"])
    return answer


def _cut(honest: Response, size: int) -> Response:
    """Return an answer with the honest Content-Length whose connection ends after `size` bytes."""
    payload = honest.get_data()

    def begin() -> Iterator[bytes]:
        yield payload[:size]

    torn = Response(begin(), honest.status_code, content_type="application/json", direct_passthrough=True)
    torn.headers["Content-Length"] = str(len(payload))
    return torn


def _oversized(honest: Response, size: int) -> Response:
    """Return the honest JSON, followed by blanks up to `size` bytes: well-formed but too large."""
    payload = honest.get_data()

    def swell() -> Iterator[bytes]:
        yield payload
        left = size - len(payload)
        while left > 0:
            yield _CHUNK[:left]
            left -= len(_CHUNK)

    return Response(swell(), honest.status_code, content_type="application/json")
