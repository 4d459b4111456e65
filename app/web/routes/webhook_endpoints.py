"""Webhook endpoints and deliveries to them (CONTRACT section 11)."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from flask import Blueprint, Response, jsonify

from app.runtime.runtime import runtime
from app.services.deliveries import delivery_lists, redelivery, webhook_endpoints
from app.services.deliveries.delivery_lists import DeliveryFilters
from app.services.deliveries.webhook_endpoints import OVERLAP_SECONDS
from app.web.cursors import present_page
from app.web.gate import caller
from app.web.parsing import handles
from app.web.schemas.endpoint_bodies import EndpointAsked, EndpointChanges, RangeAsked, RotationAsked
from app.web.schemas.parameters import DeliveriesQuery, EndpointsQuery

blueprint = Blueprint("endpoints", __name__)


@handles(blueprint, "POST", "/api/webhook-endpoints")
def create_endpoint(body: EndpointAsked) -> Response:
    """Make an endpoint."""
    made = webhook_endpoints.create_endpoint(
        runtime(), caller().tenant_id, body.url, body.event_types, body.description, caller().actor
    )
    response = jsonify(made)
    response.status_code = 201
    response.headers["Location"] = f"/api/webhook-endpoints/{made['id']}"
    return response


@handles(blueprint, "GET", "/api/webhook-endpoints")
def list_endpoints(query: EndpointsQuery) -> Response:
    """List endpoints, newest first."""
    rows = webhook_endpoints.list_endpoints(runtime(), caller().tenant_id, query.limit + 1, query.cursor)
    return jsonify(present_page(rows, query.limit))


@handles(blueprint, "GET", "/api/webhook-endpoints/{id}")
def get_endpoint(id: uuid.UUID) -> Response:
    """Read an endpoint."""
    return jsonify(webhook_endpoints.get_endpoint(runtime(), caller().tenant_id, id))


@handles(blueprint, "PATCH", "/api/webhook-endpoints/{id}")
def change_endpoint(id: uuid.UUID, body: EndpointChanges) -> Response:
    """Change an endpoint."""
    changes = body.model_dump(exclude_unset=True)
    return jsonify(webhook_endpoints.change_endpoint(runtime(), caller().tenant_id, id, changes, caller().actor))


@handles(blueprint, "DELETE", "/api/webhook-endpoints/{id}")
def delete_endpoint(id: uuid.UUID) -> Response:
    """Delete an endpoint."""
    webhook_endpoints.delete_endpoint(runtime(), caller().tenant_id, id, caller().actor)
    return Response(status=204)


@handles(blueprint, "POST", "/api/webhook-endpoints/{id}/rotate-secret")
def rotate_secret(id: uuid.UUID, body: RotationAsked) -> Response:
    """Give an endpoint a new secret."""
    tenant_id, actor = caller().tenant_id, caller().actor
    overlap_seconds = OVERLAP_SECONDS if body.overlap_seconds is None else body.overlap_seconds
    return jsonify(webhook_endpoints.rotate_secret(runtime(), tenant_id, id, overlap_seconds, actor))


@handles(blueprint, "POST", "/api/webhook-endpoints/{id}/test")
def send_test(id: uuid.UUID) -> Response:
    """Deliver `endpoint.test`."""
    return _accepted(redelivery.send_test(runtime(), caller().tenant_id, id, caller().actor))


@handles(blueprint, "GET", "/api/webhook-endpoints/{id}/deliveries")
def list_deliveries(id: uuid.UUID, query: DeliveriesQuery) -> Response:
    """List an endpoint's deliveries, newest first."""
    before = None if query.cursor is None else query.cursor[1]
    filters = DeliveryFilters(query.status, query.event_type, query.after, before)
    rows = delivery_lists.list_deliveries(
        runtime(), caller().tenant_id, id, filters, query.limit + 1, shows_answers=_shows_answers()
    )
    return jsonify(present_page(rows, query.limit))


@handles(blueprint, "POST", "/api/webhook-endpoints/{id}/redeliver")
def redeliver_range(id: uuid.UUID, body: RangeAsked) -> Response:
    """Deliver a range of events once more."""
    after = datetime.datetime.fromisoformat(body.since) if body.since is not None else body.after_event_id or 0
    tenant_id, actor = caller().tenant_id, caller().actor
    done = redelivery.redeliver_range(runtime(), tenant_id, id, after, body.status, actor)
    response = jsonify({"deliveries": done.deliveries, "next_after_event_id": done.next_after_event_id})
    response.status_code = 202
    return response


@handles(blueprint, "GET", "/api/webhook-deliveries/{id}")
def get_delivery(id: uuid.UUID) -> Response:
    """Read a delivery."""
    return jsonify(_read(id))


@handles(blueprint, "POST", "/api/webhook-deliveries/{id}/redeliver")
def redeliver(id: uuid.UUID) -> Response:
    """Deliver once more."""
    redelivery.redeliver_one(runtime(), caller().tenant_id, id, caller().actor)
    return _accepted(id)


def _accepted(delivery_id: uuid.UUID) -> Response:
    response = jsonify(_read(delivery_id))
    response.status_code = 202
    response.headers["Location"] = f"/api/webhook-deliveries/{delivery_id}"
    return response


def _read(delivery_id: uuid.UUID) -> dict[str, Any]:
    return delivery_lists.get_delivery(runtime(), caller().tenant_id, delivery_id, shows_answers=_shows_answers())


def _shows_answers() -> bool:
    return caller().role == "admin"
