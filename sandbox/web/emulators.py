"""The emulators: real providers' calls below `/{protocol}`, over the sandbox's own payments and scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response

from sandbox.protocols import registry
from sandbox.protocols.emulated import Call, EmulatedProtocol
from sandbox.protocols.protocol import JSON
from sandbox.web import emulated_captures, emulated_endpoints, emulated_events, emulated_payments, emulated_refunds

_HANDLERS: dict[Call, Callable[..., Response]] = {
    Call.CREATE: emulated_payments.create,
    Call.CAPTURE: emulated_captures.capture,
    Call.FETCH: emulated_payments.fetch,
    Call.LIST: emulated_payments.listing,
    Call.FETCH_MONEY: emulated_payments.fetch_money,
    Call.FLOW: emulated_payments.open_flow,
    Call.CANCEL: emulated_payments.cancel,
    Call.REFUND: emulated_refunds.refund,
    Call.FETCH_REFUND: emulated_refunds.fetch_refund,
    Call.LIST_REFUNDS: emulated_refunds.list_refunds,
    Call.LIST_DISPUTES: emulated_refunds.list_disputes,
    Call.LIST_EVENTS: emulated_events.list_events,
    Call.CONNECT: emulated_endpoints.connect,
    Call.FETCH_ENDPOINT: emulated_endpoints.fetch_endpoint,
    Call.LIST_ENDPOINTS: emulated_endpoints.list_endpoints,
    Call.RENEW_SECRET: emulated_endpoints.renew_secret,
    Call.CHECK: emulated_endpoints.check,
    Call.AUTHORIZE: emulated_captures.issue_token,
    Call.CERTIFICATE: emulated_captures.serve_certificate,
}


def blueprints() -> list[Blueprint]:
    """Return the calls of every emulator."""
    return [_blueprint(protocol) for protocol in registry.EMULATED.values()]


def _blueprint(protocol: EmulatedProtocol) -> Blueprint:
    blueprint = Blueprint(protocol.name, __name__, url_prefix=f"/{protocol.name}")
    for index, each in enumerate(protocol.calls):
        view = partial(_HANDLERS[each.call], protocol)
        blueprint.add_url_rule(each.path, f"{each.call}-{index}", view, methods=[each.method])

    @blueprint.after_request
    def name_content(answer: Response) -> Response:
        if answer.mimetype == JSON:
            answer.content_type = protocol.content_type
        return answer

    return blueprint
