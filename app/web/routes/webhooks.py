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
from app.providers.events import POKE_PATH, PROVIDER_PATH
from app.runtime.runtime import runtime
from app.services.webhooks import pokes, receive
from app.services.webhooks.pokes import POKE_BYTES_MAX
from app.services.webhooks.receive import BODY_BYTES_MAX, Delivery
from app.web.parsing import is_json, read_bounded

log = structlog.get_logger(__name__)

blueprint = Blueprint("webhooks", __name__)


def _receive(path: str, provider_id: str | None = None) -> Response:
    delivery = _read_delivery(path, provider_id, BODY_BYTES_MAX)
    _refuse_doubled(delivery)
    if not is_json():
        receive.refuse(runtime(), delivery, "media_type")
        return problem(415, "A webhook is application/json.")
    try:
        receipt = receive.receive(runtime(), delivery)
    except (ProviderUnusable, DBAPIError) as error:
        return _answer_not_stored(error)
    answer: dict[str, object] = {
        "received": True,
        "webhook_id": str(receipt.webhook_id),
        "duplicate": receipt.is_duplicate or receipt.is_conflict,
    }
    if receipt.is_conflict:
        answer["conflict"] = True
    return jsonify(answer)


def _receive_poke(provider_id: str, url_token: str) -> Response:
    """Receive a notification that nobody signed; only who knows the URL learns more than that there is no such one."""
    delivery = _read_delivery(POKE_PATH, provider_id, POKE_BYTES_MAX)
    try:
        poked = pokes.find(runtime(), delivery, url_token)
        _refuse_doubled(delivery)
        if request.mimetype not in runtime().find_adapter(poked.adapter).poke_types:
            receive.refuse(runtime(), delivery, "media_type", poked.id)
            return problem(415, "Notifications of this provider have another media type.")
        pokes.receive_poke(runtime(), poked, delivery)
    except (ProviderUnusable, DBAPIError) as error:
        return _answer_not_stored(error)
    return jsonify({"received": True})


def _read_delivery(path: str, provider_id: str | None, bytes_max: int) -> Delivery:
    try:
        return _delivery(path, provider_id, read_bounded(bytes_max))
    except RequestRejected:
        receive.refuse(runtime(), _delivery(path, provider_id, b""), "too_large")
        raise


def _refuse_doubled(delivery: Delivery) -> None:
    if SINGLE_HEADERS & delivery.doubled:
        receive.refuse(runtime(), delivery, "doubled_header")
        raise signatures.rejected("doubled_header")


def _answer_not_stored(error: ProviderUnusable | DBAPIError) -> Response:
    """Return the answer to a delivery that could not be verified or stored: 503, so that it is sent again.

    Some providers do not retry after a 500. Errors of the connection are answered like those of every route.
    """
    if isinstance(error, ProviderUnusable):
        return problem(503, "The webhook cannot be verified now; nothing was stored. Try again.")
    if isinstance(error, OperationalError | InterfaceError):
        raise error
    log.exception("webhook_not_stored", exc_info=error)
    return problem(503, "The webhook could not be stored. Try again.")


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
blueprint.add_url_rule("/webhooks/<provider_id>/<url_token>", "poke", _receive_poke, methods=["POST"])
