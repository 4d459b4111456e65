"""What every emulated call does: who calls, which payment is meant, and answers in the provider's form."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Response, request

from sandbox.payments import merchants, reversals
from sandbox.protocols import changes
from sandbox.protocols import payment as payments
from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.protocols.payment import ProviderPayment
from sandbox.protocols.request_parts import fingerprint
from sandbox.values.refusal import Refusal
from sandbox.web import answers, calls
from sandbox.web.api import parts

Render = Callable[[ProviderPayment, str], dict[str, Any]]

_FIND = {
    column: " ".join(
        ("SELECT", payments.COLUMNS, f"FROM payments WHERE {column} = ? AND merchant = ? ORDER BY seq DESC LIMIT 1")
    )
    for column in ("reference", "merchant_reference")
}


def error_answer(protocol: EmulatedProtocol, refusal: Refusal) -> Response:
    """Return a refusal in the provider's form."""
    status, body = protocol.error(refusal)
    return answers.plain(status, answers.encode(body))


def merchant_of(protocol: EmulatedProtocol) -> str:
    """Return the account that calls. Raise Refusal 401."""
    key = protocol.read_key(dict(request.headers))
    name = None if key is None else merchants.named_by(parts().store.reading(), protocol.name, key)
    if name is None:
        raise Refusal(401, "unauthenticated", "The API key is wrong.")
    return name


def fields_of(protocol: EmulatedProtocol) -> dict[str, Any]:
    """Return the fields of the request's body. Raise Refusal 400."""
    return protocol.read_body(request.get_data(), request.content_type or "")


def once(
    protocol: EmulatedProtocol, connection: sqlite3.Connection, merchant: str, make: Callable[[], Response]
) -> tuple[bool, Response]:
    """Make an answer, or repeat the first one of the request's idempotency key."""
    key = protocol.idempotency_key(dict(request.headers))
    digest = calls.digest_of(fingerprint(request.path, request.get_data(), request.content_type or ""))
    mismatch = Refusal(400, "idempotency_mismatch", "The idempotency key was used with other parameters.")
    used = None if key is None else calls.UsedKey(merchant, key, digest)
    is_new, answer = calls.make_once(connection, used, error_answer(protocol, mismatch), make)
    if not is_new and answer.status_code < 300:
        replayed = protocol.replayed(json.loads(answer.get_data()))
        if replayed is not None:
            return False, answers.plain(replayed[0], answers.encode(replayed[1]))
        answer.headers.extend(protocol.replay_headers)
    return is_new, answer


def find_payment(connection: sqlite3.Connection, merchant: str, named: tuple[str, str]) -> ProviderPayment:
    """Return the merchant's payment of that name, the newest of several. Raise Refusal 404."""
    column, value = named
    row = connection.execute(_FIND[column], (value, merchant)).fetchone()
    if row is None:
        raise Refusal(404, "not_found", f"No such payment: {value}")
    return payments.from_row(row)


def render(
    protocol: EmulatedProtocol,
    payment: ProviderPayment,
    spell: Render,
    shows: dict[str, Any],
) -> dict[str, Any]:
    """Return a payment as the provider shows it, with what a script shows in place of the truth."""
    if protocol.shows_money_back:
        found = reversals.listed_of(parts().store.reading(), payment.reference)
        payment = replace(payment, money_back=tuple(found))
    redirect_url = shows.get("redirect_url", payment.redirect_url(parts().settings.public_url))
    return changes.of_body(protocol, spell(changes.of_payment(protocol, payment, shows), redirect_url), shows)


def answer_with(
    protocol: EmulatedProtocol,
    payment: ProviderPayment,
    spell: Render,
    status: int,
    shows: dict[str, Any] | None = None,
) -> Response:
    """Return an answer about a payment."""
    return answers.plain(status, answers.encode(render(protocol, payment, spell, shows or {})))


def spoiled(protocol: EmulatedProtocol, section: dict[str, Any] | None, honest: Response) -> Response:
    """Return the answer that a script asks for, with errors in the provider's form."""

    def fault(status: int, message: str) -> Response:
        return error_answer(protocol, Refusal(status, "scripted", message))

    return answers.spoiled(section, honest, parts().settings.public_url, fault)
