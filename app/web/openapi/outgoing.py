"""What goes out, for the OpenAPI document: deliveries to webhook endpoints, and the streams of the sockets process."""

from __future__ import annotations

from typing import Any, get_args

from app.web.schemas.answers import Event

_EVENT = {"$ref": "#/components/schemas/Event"}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_SUMMARIES = {
    "payment.redirect_ready": "The user can be sent to the provider",
    "payment.completed": "The money was credited",
    "payment.failed": "The payment failed",
    "payment.cancelled": "The payment was cancelled, or nobody paid it in time",
    "payment.review": "A person has to decide about the payment",
    "payment.reversed": "The provider took money back",
    "payment.reinstated": "Money that had been taken back came again",
    "payment.disputed": "A payer's dispute was opened, won or lost",
    "refund.completed": "A refund was done",
    "refund.failed": "A refund was refused, or failed later",
}
EVENT_TYPES: tuple[str, ...] = get_args(Event.model_fields["type"].annotation)

_SIGNED = (
    "Sent to the tenant's webhook endpoints, signed with every active secret of the endpoint as"
    " [Standard Webhooks](https://www.standardwebhooks.com) has it. At least once; `id` orders."
    " Success is any 2xx within fifteen seconds."
)
_HEADERS = {
    "webhook-id": "The same on every try.",
    "webhook-timestamp": "Unix seconds of this try.",
    "webhook-signature": "`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, one for each secret, by blanks.",
}
_STREAM = (
    "All events of the tenant (secret key of any role), or those of one user (client token, or a ticket in the query),"
    " as server-sent events: first `hello`, then what came after `after` or `Last-Event-ID`, then what happens."
    " Comments keep the connection open; a last event `close` has the code of the end."
)


def describe_webhooks() -> dict[str, Any]:
    """Return the document's `webhooks`: one for each type of event."""
    return {kind: {"post": _describe_delivery(kind)} for kind in EVENT_TYPES}


def _describe_delivery(kind: str) -> dict[str, Any]:
    return {
        "operationId": "on_" + kind.replace(".", "_"),
        "summary": _SUMMARIES[kind],
        "description": _SIGNED,
        "tags": ["Deliveries"],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "description": "The event.",
            "required": True,
            "content": {
                "application/json": {"schema": {"allOf": [_EVENT, {"properties": {"type": {"const": kind}}}]}},
            },
        },
        "responses": {
            "2XX": {"description": "Received; not sent again."},
            "410": {"description": "The endpoint is gone, and is disabled."},
            "default": {"description": "Sent again later."},
        },
    }


def describe_streams(security: list[dict[str, list[str]]]) -> dict[str, Any]:
    """Return the paths of the sockets process, whose base URL the answer to `POST /api/client-tokens` names."""
    resume = {
        "name": "after",
        "in": "query",
        "required": False,
        "description": "Resume after this event.",
        "schema": {"type": "integer", "minimum": 0},
    }
    ticket = {
        "name": "ticket",
        "in": "query",
        "required": False,
        "description": "A browser's single-use pass in place of `Authorization`.",
        "schema": {"type": "string"},
    }
    refused = {
        "401": {"description": "No valid credential", "content": _PROBLEM},
        "403": {"description": "Not allowed", "content": _PROBLEM},
        "421": {"description": "Served elsewhere: `Content-Location` names the base URL", "content": _PROBLEM},
        "422": {"description": "A field is wrong", "content": _PROBLEM},
        "429": {"description": "Too many connections", "content": _PROBLEM},
        "503": {"description": "Try again later", "content": _PROBLEM},
    }
    event_stream = {"text/event-stream": {"schema": {"type": "string"}, "example": _write_example()}}
    stream = {
        "operationId": "get_api_stream",
        "summary": "Events as they come (server-sent events)",
        "description": _STREAM,
        "parameters": [resume, {**resume, "name": "Last-Event-ID", "in": "header"}, ticket],
        "responses": {"200": {"description": "The stream", "content": event_stream}, **refused},
    }
    socket = {
        "operationId": "get_ws",
        "summary": "Events as they come (WebSocket)",
        "description": "The same messages as frames of text. A browser offers the subprotocols `sluice.v1` and"
        " `sluice.token.` with its client token; a backend sends `Authorization`.",
        "parameters": [resume],
        "responses": {
            "101": {"description": "The connection is a WebSocket now"},
            "426": {"description": "This address speaks WebSocket only", "content": _PROBLEM},
            **refused,
        },
    }
    return {
        path: {"servers": [_SOCKETS_SERVER], "get": {**operation, "tags": ["Streams"], "security": security}}
        for path, operation in (("/api/stream", stream), ("/ws", socket))
    }


_SOCKETS_SERVER = {
    "url": "{sockets_url}",
    "description": "The process of live connections",
    "variables": {
        "sockets_url": {
            "default": "http://127.0.0.1:8002",
            "description": "`sockets_url` of `POST /api/client-tokens` and `POST /api/tickets`.",
        }
    },
}


def _write_example() -> str:
    return (
        'event: hello\ndata: {"type": "hello", "resumed": true, "last_id": 41}\n\n'
        'id: 42\nevent: payment.completed\ndata: {"id": 42, "type": "payment.completed", "payment": {"...": "..."},'
        ' "at": "2026-01-31T12:00:00.000000Z"}\n\n'
    )
