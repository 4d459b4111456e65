"""The emulated call that lists what happened, which webhooks report as well."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, request

from sandbox.protocols import changes
from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.web import answers, calls
from sandbox.web.api import parts
from sandbox.web.emulated_calls import find_payment, merchant_of, spoiled

_BODIES = (
    "SELECT body FROM events WHERE merchant = :merchant AND (:reference IS NULL OR reference = :reference)"
    " ORDER BY seq DESC"
)


def list_events(protocol: EmulatedProtocol) -> Response:
    """Return the events of the calling merchant, newest first, of one payment or of all; a script spoils the former."""
    connection, merchant = parts().store.reading(), merchant_of(protocol)
    named = protocol.refunds_of(request.args)
    payment = None if named is None else find_payment(connection, merchant, protocol.name_payment(named))
    wanted = {"merchant": merchant, "reference": payment and payment.reference}
    bodies = [json.loads(row["body"]) for row in connection.execute(_BODIES, wanted).fetchall()]
    honest = protocol.render_events(bodies, request.args)
    section: dict[str, Any] | None = None
    if payment is not None:
        section = calls.fetch_section(parts().store, payment.merchant_reference, payment.metadata)
    shown = changes.of_body(protocol, honest, {} if section is None else section.get("show", {}))
    return spoiled(protocol, section, answers.ok(shown))
