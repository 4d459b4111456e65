"""The emulated call that lists events, which were announced by webhook as well."""

from __future__ import annotations

import json

from flask import Response, request

from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.web import answers
from sandbox.web.api import parts
from sandbox.web.emulated_calls import merchant_of

_BODIES = "SELECT body FROM deliveries WHERE merchant = ? AND protocol = ? ORDER BY id DESC"


def list_events(protocol: EmulatedProtocol) -> Response:
    """Return the events of the calling merchant, newest first."""
    rows = parts().store.reading().execute(_BODIES, (merchant_of(protocol), protocol.name))
    bodies = [json.loads(row["body"]) for row in rows]
    return answers.ok(protocol.render_events(bodies, request.args))
