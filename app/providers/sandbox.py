"""The adapter of the sandbox provider (docs/SANDBOX.md)."""

from __future__ import annotations

import datetime
import json
import threading
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import OutcomeUnknown, ProviderRefusedUs, Throttled, Unusable
from app.core.facts import Fact, FactKind
from app.core.money import AmountError, CurrencyError, parse_exact_amount
from app.core.payments import format_time
from app.core.redaction import redact
from app.core.strict_json import JsonError, loads
from app.providers.adapter import Account, Listed, Order, Subject
from app.providers.callback_body import (
    name_payment,
    read_message,
    read_money,
    read_payment_id,
    read_text,
    translate_callback,
)
from app.providers.outgoing import Answer, Outgoing

# A page of a list has some hundred kilobytes, well below what an answer may have.
LIST_ROWS = 200

# As long as a direct debit takes to come back unpaid: five bank days and the weekend between them.
SETTLES_WITHIN_DAYS = 7

# The sandbox's states in our words. `underpaid` has money in it: the amount tells how much.
KINDS = {
    "open": FactKind.PENDING,
    "processing": FactKind.COMMITTED,
    "paid": FactKind.SUCCEEDED,
    "underpaid": FactKind.SUCCEEDED,
    "declined": FactKind.DECLINED,
    "cancelled": FactKind.CANCELLED,
    "expired": FactKind.CANCELLED,
}


class SandboxAdapter:
    """Talks to the sandbox over its HTTP API."""

    # The sandbox keeps its keys for ever; a day is what providers usually promise.
    idempotency_key_seconds = 86_400
    settles_within_days = SETTLES_WITHIN_DAYS

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        self._threads = threading.local()

    def build_request(self, order: Order) -> bytes:
        """Returns the create call's body, the same bytes for the same order."""
        return json.dumps(
            {
                "amount": order.amount,
                "currency": order.currency,
                "merchant_reference": str(order.payment_id),
                "callback_urls": dict(order.callback_urls),
                "success_url": order.success_url,
                "failure_url": order.failure_url,
                "expires_at": order.expires_at,
                "metadata": dict(order.metadata),
            },
            sort_keys=True,
            separators=(",", ":"),
            # UTF-8 is a third of what escapes take: full metadata in any script stays below a provider's bound.
            ensure_ascii=False,
        ).encode()

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Creates the payment; a refusal of the payment itself is a DECLINED fact."""
        answer = self._send(account, "POST", "/v1/payments", request, {"Idempotency-Key": str(payment_id)})
        if answer.status in (200, 201):
            body = _read(answer)
            return Fact(FactKind.ACCEPTED, _text(body, "reference"), _text(body, "redirect_url"))
        if answer.status in (400, 422):
            return Fact(FactKind.DECLINED, message=_error_message(answer))
        raise _failure(answer)

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Asks for the present state, by reference or, while none is known, by our payment id."""
        if subject.reference is None:
            query = urllib.parse.urlencode({"merchant_reference": str(subject.payment_id)})
            answer = self._send(account, "GET", f"/v1/payments?{query}")
            if answer.status != 200:
                raise _failure(answer)
            found = _read(answer).get("data")
            if not isinstance(found, list):
                raise OutcomeUnknown("the provider's list cannot be read")
            return _state(found[0]) if found else Fact(FactKind.NOT_FOUND)
        answer = self._send(account, "GET", f"/v1/payments/{urllib.parse.quote(subject.reference, safe='')}")
        if answer.status == 404:
            return Fact(FactKind.NOT_FOUND)
        if answer.status != 200:
            raise _failure(answer)
        return _state(_read(answer))

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yields the payments of a period, oldest first, in pages of LIST_ROWS."""
        query = {"created_after": format_time(created_after), "created_before": format_time(created_before)}
        cursor: str | None = None
        while True:
            page = query | {"limit": str(LIST_ROWS)} | ({} if cursor is None else {"cursor": cursor})
            answer = self._send(account, "GET", "/v1/payments?" + urllib.parse.urlencode(page))
            if answer.status != 200:
                raise _failure(answer)
            body = _read(answer)
            rows, last = body.get("data"), cursor
            if not isinstance(rows, list):
                raise OutcomeUnknown("the provider's list cannot be read")
            yield from (_listed(row) for row in rows)
            cursor = body.get("next_cursor")
            if cursor is None:
                return
            if not isinstance(cursor, str) or cursor == last:
                # A list that does not go on would be read for ever.
                raise OutcomeUnknown("the provider's list does not go on")

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Closes the session; where it cannot be closed any more, the state says why."""
        reference = urllib.parse.quote(subject.reference or "", safe="")
        answer = self._send(account, "POST", f"/v1/payments/{reference}/cancel", b"{}")
        if answer.status == 200:
            return _state(_read(answer))
        if answer.status == 409:
            return self.fetch(account, subject)
        raise _failure(answer)

    def name_payment(self, body: Mapping[str, Any]) -> uuid.UUID | None:
        """Return the payment that a webhook names; the sandbox's own form names it as the common body does."""
        return name_payment(body)

    def translate(self, body: Mapping[str, Any]) -> tuple[uuid.UUID, Fact]:
        """Returns the fact of a webhook: the common body, or the sandbox's own for refunds."""
        if body.get("event_type") != "payment.refunded":
            return translate_callback(body)
        if body.get("status") != "refunded":
            raise Unusable("event_type and status disagree")
        amount_minor, currency = read_money(body, "amount")
        reference = read_text(body, "provider_reference", 255)
        return read_payment_id(body), Fact(FactKind.REFUNDED, reference, amount_minor=amount_minor, currency=currency)

    def _send(
        self,
        account: Account,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        if not hasattr(self._threads, "outgoing"):
            self._threads.outgoing = Outgoing(self._private_hosts)
        sent = {"Authorization": f"Bearer {account.api_key}", "Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        answer: Answer = self._threads.outgoing.send(method, account.api_base_url + path, sent, body)
        return answer


def _read(answer: Answer) -> dict[str, Any]:
    try:
        body = loads(answer.body)
    except JsonError as error:
        raise OutcomeUnknown("the provider's answer is torn") from error
    if not isinstance(body, dict):
        raise OutcomeUnknown("the provider's answer is no object")
    return body


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value or len(value) > 2048:
        raise OutcomeUnknown(f"the provider's answer has no {field}")
    return value


def _state(body: Any) -> Fact:
    if not isinstance(body, dict):
        raise OutcomeUnknown("the provider's answer is no object")
    kind = KINDS.get(str(body.get("status")))
    if kind is None:
        raise OutcomeUnknown("the provider's answer has an unknown status")
    reference = _text(body, "reference")
    redirect_url = body.get("redirect_url") if isinstance(body.get("redirect_url"), str) else None
    if kind is FactKind.COMMITTED:
        return Fact(kind, reference, redirect_url, settles_within_days=SETTLES_WITHIN_DAYS)
    if kind is not FactKind.SUCCEEDED:
        is_expiry = body.get("status") == "expired"
        return Fact(kind, reference, redirect_url, message=read_message(body), is_expiry=is_expiry)
    try:
        currency = str(body.get("received_currency") or body.get("currency"))
        amount_minor = parse_exact_amount(body.get("received_amount"), currency)
    except (AmountError, CurrencyError) as error:
        raise OutcomeUnknown(f"the provider's answer has an unreadable amount: {error}") from error
    return Fact(kind, reference, redirect_url, amount_minor, currency)


def _listed(body: Any) -> Listed:
    fact = _state(body)
    try:
        payment_id = uuid.UUID(str(body.get("merchant_reference")))
    except ValueError:
        payment_id = None
    try:
        currency = str(body.get("currency"))
        asked = parse_exact_amount(body.get("amount"), currency)
        given_back = str(body.get("refunded_amount") or "0")
        # Nothing given back may be written without a currency's digits.
        refunded = parse_exact_amount(given_back, fact.currency or currency) if given_back.strip("0.") else 0
    except (AmountError, CurrencyError) as error:
        raise OutcomeUnknown(f"the provider's list has an unreadable amount: {error}") from error
    return Listed(payment_id, _text(body, "reference"), asked, currency, refunded, fact)


def _error_message(answer: Answer) -> str:
    try:
        message = loads(answer.body)["error"]["message"]
    except (JsonError, KeyError, TypeError):
        message = None
    return redact(message[:500]) if isinstance(message, str) and message else "refused by the provider"


def _failure(answer: Answer) -> Exception:
    """What a status that is no answer means: may the provider have acted?"""
    if answer.status in (401, 403, 404, 405, 409, 410, 415) or 300 <= answer.status < 400:
        return ProviderRefusedUs(f"the provider answered {answer.status}")
    error: Throttled | OutcomeUnknown
    if answer.status in (425, 429):
        error = Throttled(f"the provider answered {answer.status}")
    else:
        error = OutcomeUnknown(f"the provider answered {answer.status}")
    error.retry_after_seconds = answer.retry_after_seconds
    return error
