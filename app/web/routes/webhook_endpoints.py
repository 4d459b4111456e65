"""Webhook endpoints and deliveries to them (CONTRACT section 11)."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, jsonify

from app.runtime.runtime import runtime
from app.services.deliveries import webhook_endpoints
from app.web.cursors import present_page
from app.web.gate import caller
from app.web.parsing import handles
from app.web.schemas.endpoint_bodies import EndpointAsked
from app.web.schemas.parameters import EndpointsQuery

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
