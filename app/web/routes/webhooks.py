"""Receives providers' webhooks (CONTRACT section 4)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import cast

import structlog
from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.core import signatures
from app.core.errors import ProviderUnusable, RequestRejected
from app.http.problems import problem
from app.http.request_heads import SINGLE_HEADERS, HeaderValues, doubled_headers
from app.providers.events import PROVIDER_PATH
from app.runtime.runtime import runtime
from app.services.webhooks import receive
from app.services.webhooks.receive import BODY_BYTES_MAX, Delivery
from app.web.parsing import is_json, read_bounded

log = structlog.get_logger(__name__)

blueprint = Blueprint("webhooks", __name__)


def _receive(path: str, provider_id: str | None = None) -> Response:
    try:
        body = read_bounded(BODY_BYTES_MAX)
    except RequestRejected:
        receive.refuse(runtime(), _delivery(path, provider_id, b""), "too_large")
        raise
    delivery = _delivery(path, provider_id, body)
    if SINGLE_HEADERS & delivery.doubled:
        receive.refuse(runtime(), delivery, "doubled_header")
        raise signatures.rejected("doubled_header")
    if not is_json():
        receive.refuse(runtime(), delivery, "media_type")
        return problem(415, "A webhook is application/json.")
    try:
        receipt = receive.receive(runtime(), delivery)
    except ProviderUnusable:
        return problem(503, "The webhook cannot be verified now; nothing was stored. Try again.")
    except DBAPIError as error:
        if isinstance(error, OperationalError | InterfaceError):
            raise
        # 503 instead of 500: some providers do not retry after a 500.
        log.exception("webhook_not_stored", exc_info=error)
        return problem(503, "The webhook could not be stored. Try again.")
    answer: dict[str, object] = {
        "received": True,
        "webhook_id": str(receipt.webhook_id),
        "duplicate": receipt.is_duplicate or receipt.is_conflict,
    }
    if receipt.is_conflict:
        answer["conflict"] = True
    return jsonify(answer)


def _delivery(path: str, provider_id: str | None, body: bytes) -> Delivery:
    environ = request.environ
    address = environ.get("REMOTE_ADDR", "")
    # The mapping is read by name only.
    headers = cast("Mapping[str, str]", HeaderValues(environ))
    return Delivery(path, provider_id, headers, body, address, doubled_headers(environ))


for _path in ("payment-success", "payment-failed", "payment-callback"):
    blueprint.add_url_rule(f"/webhooks/{_path}", _path, functools.partial(_receive, _path), methods=["POST"])
blueprint.add_url_rule(
    "/webhooks/<provider_id>", "provider", functools.partial(_receive, PROVIDER_PATH), methods=["POST"]
)
