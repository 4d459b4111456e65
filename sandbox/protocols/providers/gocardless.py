"""GoCardless: billing requests with their flows, the payments behind them, refunds, and batches of signed events.

Read in no document: the prefix of a test's access token, and what becomes of a request whose flow expired (it is
cancelled here). A payer whose bank refused may try again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from sandbox.protocols.emulated import Call, EmulatedCall, EmulatedProtocol, FlowOrder, Page, PageQuery, RefundOrder
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import Event, Notice, Occurrence, Unsigned
from sandbox.protocols.providers import gocardless_objects as objects
from sandbox.values import amounts, timestamps
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

_REFERENCE_BYTES = 6
_MOST_METADATA = 3
_LONGEST_TEXT = 255
_REQUEST, _PAYMENT, _REFUND = "billing_requests", "payments", "refunds"

_FULFILLED = ((_REQUEST, "fulfilled"), (_PAYMENT, "created"))
# By event: resource and action of each event of the batch.
_EVENTS: dict[Event, tuple[tuple[str, str], ...]] = {
    "success": (*_FULFILLED, (_PAYMENT, "confirmed")),
    "processing": (*_FULFILLED, (_PAYMENT, "submitted")),
    "failed": ((_PAYMENT, "failed"),),
    "attempt_failed": ((_REQUEST, "bank_authorisation_denied"),),
    "cancelled": ((_REQUEST, "cancelled"),),
    "expired": ((_REQUEST, "cancelled"),),
    "refunded": ((_REFUND, "paid"),),
    "refund_failed": ((_REFUND, "failed"),),
    "disputed": ((_PAYMENT, "charged_back"),),
    "dispute_won": ((_PAYMENT, "chargeback_cancelled"),),
    "dispute_lost": ((_PAYMENT, "chargeback_settled"),),
    "stray": (("creditors", "updated"),),
}
# Where what the sandbox calls a dispute is a failure after the confirmation.
_LATE_FAILURE = {
    "disputed": "failed",
    "dispute_won": "confirmed",
    "dispute_lost": "late_failure_settled",
}
# By the sandbox's code: status, type and reason of GoCardless's error.
_ERRORS = {
    "unauthenticated": (401, "invalid_api_usage", "access_token_not_found"),
    "not_found": (404, "invalid_api_usage", "resource_not_found"),
    "wrong_state": (422, "invalid_state", "cancellation_failed"),
    "already_captured": (422, "invalid_state", "cancellation_failed"),
    "wrong_total": (422, "invalid_state", "total_amount_confirmation_invalid"),
    "refund_too_large": (422, "validation_failed", "validation_failed"),
    "refund_wrong_state": (422, "invalid_state", "refund_payment_invalid_state"),
    "invalid_amount": (422, "validation_failed", "invalid_amount"),
    "invalid_field": (422, "validation_failed", "validation_failed"),
    "idempotency_mismatch": (409, "invalid_state", "idempotent_creation_conflict"),
}


class GoCardlessProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/gocardless`."""

    name = "gocardless"
    title = "GoCardless"
    decline_ends = False
    cancel_ends = False
    refunds_at_once = False
    shows_money_back = True
    chargeback_is_whole = True
    keeps_events = True
    created_status = 201
    refunded_status = 201
    refund_codes: ClassVar[Mapping[str, str]] = {"wrong_state": "refund_wrong_state"}
    key_prefixes = ("sandbox_",)
    calls = (
        EmulatedCall("POST", "/billing_requests", Call.CREATE),
        EmulatedCall("GET", "/billing_requests", Call.LIST),
        EmulatedCall("GET", "/billing_requests/<payment_id>", Call.FETCH),
        EmulatedCall("POST", "/billing_requests/<payment_id>/actions/cancel", Call.CANCEL),
        EmulatedCall("POST", "/billing_request_flows", Call.FLOW),
        EmulatedCall("GET", "/payments/<payment_id>", Call.FETCH_MONEY),
        EmulatedCall("POST", "/refunds", Call.REFUND),
        EmulatedCall("GET", "/refunds", Call.LIST_REFUNDS),
        EmulatedCall("GET", "/refunds/<refund_id>", Call.FETCH_REFUND),
        EmulatedCall("GET", "/events", Call.LIST_EVENTS),
        EmulatedCall("GET", "/creditors", Call.CHECK),
    )

    def new_reference(self) -> str:
        return objects.REQUEST + secrets.token_hex(_REFERENCE_BYTES).upper()

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        asked = read.table(fields, _REQUEST)
        wanted = read.table(asked, "payment_request")
        try:
            currency = amounts.parse_currency(wanted.get("currency"))
        except Refusal:
            raise read.refuse("currency", "must be a supported currency") from None
        metadata, inner = _metadata(asked), _metadata(wanted)
        return PaymentOrder(
            amount_minor=read.number(wanted, "amount", None, amounts.MAX_MINOR),
            currency=currency,
            merchant_reference=metadata.get("payment_id") or inner.get("payment_id") or read.unnamed(),
            success_url=None,
            failure_url=None,
            callback_urls={},
            metadata=metadata,
            expires_at=None,
            request={"description": read.text(wanted, "description", _LONGEST_TEXT) or "", "payment_metadata": inner},
        )

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return {_REQUEST: objects.request(payment)}

    def render_listed(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return objects.request(payment)

    def render_money(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return {_PAYMENT: objects.payment_of(payment)}

    def read_flow(self, fields: dict[str, Any]) -> FlowOrder:
        flow = read.table(fields, "billing_request_flows")
        named = str(read.table(flow, "links").get("billing_request"))
        back = read.url(flow, "redirect_uri")
        return FlowOrder(named, back, read.url(flow, "exit_uri") or back)

    def render_flow(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return {"billing_request_flows": objects.flow(payment, redirect_url)}

    def name_payment(self, text: str) -> tuple[str, str]:
        """Name a payment by its request or by the payment behind it, which share their digits."""
        return "reference", objects.REQUEST + text.removeprefix(objects.REQUEST).removeprefix(objects.PAYMENT)

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        return PageQuery(
            limit=read.number(query, "limit", 50, 500),
            start=query.get("after"),
            after=_read_time(query, "created_at[gte]"),
            before=_read_time(query, "created_at[lt]"),
        )

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        after = page.rows[-1]["id"] if page.following else None
        return _listed(_REQUEST, page.rows, query.limit, after)

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        asked = read.table(fields, _REFUND)
        amount = read.number(asked, "amount", None, amounts.MAX_MINOR)
        confirmed = asked.get("total_amount_confirmation")
        total = None if confirmed is None else read.number(asked, "total_amount_confirmation", None, amounts.MAX_MINOR)
        named = str(read.table(asked, "links").get("payment"))
        words = {"metadata": _metadata(asked), "reference": asked.get("reference")}
        return RefundOrder(named, amount, words, total)

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.refund(payment, back)

    def answer_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return {_REFUND: objects.refund(payment, back)}

    def refund_token(self, refund_id: str) -> str:
        return refund_id.removeprefix(objects.REFUND).lower()

    def refunds_of(self, query: Mapping[str, str]) -> str | None:
        return query.get("payment")

    def render_refunds(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return _listed(_REFUND, rows, len(rows), None)

    def render_events(self, bodies: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
        events = {event["id"]: event for body in bodies for event in reversed(body["events"])}
        rows = [event for event in events.values() if _is_meant(event, query)]
        limit, ids = read.number(query, "limit", 50, 500), [event["id"] for event in rows]
        if "after" in query and query["after"] not in ids:
            raise Refusal(404, "not_found", f"No such event: {query['after']}")
        start = ids.index(query["after"]) + 1 if "after" in query else 0
        page = rows[start : start + limit]
        following = page[-1]["id"] if len(rows) > start + limit else None
        return _listed("events", page, limit, following)

    def check(self, merchant: str) -> dict[str, Any]:
        return _listed("creditors", [{"id": "CR000SANDBOX", "name": merchant}], 50, None)

    def replayed(self, answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the conflict that a used key is answered with: it names what the first call made."""
        (made,) = answer.values()
        status, body = self.error(Refusal(409, "idempotency_mismatch", "A resource has already been created"))
        body["error"]["errors"][0]["links"] = {"conflicting_resource_id": made["id"]}
        return status, body

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        kind = "gocardless" if refusal.status >= 500 else "invalid_api_usage"
        status, kind, reason = _ERRORS.get(refusal.code, (refusal.status, kind, refusal.code))
        one = {"reason": reason, "message": refusal.message}
        one |= {} if refusal.field is None else {"field": refusal.field}
        error = {"message": refusal.message, "type": kind, "code": status, "request_id": "sandbox", "errors": [one]}
        return status, {"error": error}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return the one batch of an occurrence's events."""
        named = _EVENTS[occurrence.event]
        if occurrence.event == "success" and occurrence.was == "processing":
            named = named[-1:]
        if objects.is_late_failure(occurrence.money_back):
            named = ((_PAYMENT, _LATE_FAILURE[occurrence.event]),)
        events = [objects.event(occurrence, *each, index) for index, each in enumerate(named)]
        return [Notice(".".join(named[-1]), _batch(events))]

    def join(self, bodies: list[bytes]) -> bytes:
        """Return several batches as one."""
        batch = _batch([event for body in bodies for event in json.loads(body)["events"]])
        return json.dumps(batch, ensure_ascii=False, separators=(",", ":")).encode()

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        made = hmac.new(unsigned.secrets[0].encode(), unsigned.body, hashlib.sha256).hexdigest()
        return {"Webhook-Signature": made}


def _batch(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {"events": events, "meta": {"webhook_id": "WB" + secrets.token_hex(_REFERENCE_BYTES).upper()}}


def _listed(name: str, rows: list[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    return {name: rows, "meta": {"cursors": {"before": None, "after": after}, "limit": limit}}


def _is_meant(event: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    is_action = query.get("action") in (None, event["action"])
    return is_action and query.get("payment") in (None, event["links"].get("payment"))


def _metadata(fields: Mapping[str, Any]) -> dict[str, str]:
    metadata = read.texts(fields, "metadata")
    if len(metadata) > _MOST_METADATA:
        raise read.refuse("metadata", f"may have at most {_MOST_METADATA} keys")
    return metadata


def _read_time(query: Mapping[str, str], name: str) -> str | None:
    try:
        return timestamps.parse(query[name], name) if name in query else None
    except Refusal as refusal:
        raise read.refuse(name, refusal.message) from None
