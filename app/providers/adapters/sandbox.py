"""The adapter of the sandbox provider (docs/SANDBOX.md)."""

from __future__ import annotations

import datetime
import json
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.core.money import CURRENCY_DIGITS, AmountError, CurrencyError, format_amount, parse_exact_amount
from app.core.payment import format_time
from app.core.redaction import redact
from app.core.strict_json import JsonError, loads
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.adapter import Account, Listed, Order, RefundSubject, Subject
from app.providers.adapters.common_webhook import name_payment, translate_callback
from app.providers.adapters.money_back import MONEY_BACK_EVENTS, translate_money_back
from app.providers.amounts import iso_table
from app.providers.calls.answer_fields import (
    check_subject,
    clean_message,
    read_answer_reference,
    read_error_message,
    read_own_id,
    read_redirect_url,
)
from app.providers.calls.http_adapter import HttpAdapter, read_list, read_object, read_rows, refuse, walk_pages
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.capabilities import Capabilities
from app.providers.credentials import API_KEY, Credential
from app.providers.events import PROVIDER_PATH, Delivered, Event, Ignored, Name
from app.providers.signing import SchemeSigned

PAYMENTS, REFUNDS = "/v1/payments", "/v1/refunds"
# A page of a list has some hundred kilobytes, well below the limit of an answer.
LIST_ROWS = 200

# The code of a refusal of the payment itself. All others are about our request: the adapter's fault, or the
# configuration's, and not the payer's.
PAYMENT_DECLINED = "payment_declined"
REFUSES_PAYMENT = frozenset({400, 422})
# Refusals of a refund, which a repeated call does not change.
REFUSES_REFUND = frozenset({409, 422})
REFUSAL_CODES = frozenset({"wrong_state", "refund_too_large"})

# As long as a direct debit takes to come back unpaid: five bank days and the weekend between them.
SETTLES_WITHIN_DAYS = 7

EVENT_TYPES = frozenset(f"payment.{status}" for status in ("success", "failed", "cancelled", "processing"))

# The sandbox's states as kinds of facts. `underpaid` has received money: the amount says how much.
KINDS = {
    "open": FactKind.PENDING,
    "processing": FactKind.COMMITTED,
    "paid": FactKind.SUCCEEDED,
    "underpaid": FactKind.SUCCEEDED,
    "declined": FactKind.DECLINED,
    "cancelled": FactKind.CANCELLED,
    "expired": FactKind.CANCELLED,
}


class SandboxAdapter(HttpAdapter, SchemeSigned):
    """Talks to the sandbox over its HTTP API."""

    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(API_KEY, "the api_key that its account was made with (docs/SANDBOX.md)"),
    )
    capabilities = Capabilities(
        amounts=iso_table(CURRENCY_DIGITS),
        # The sandbox keeps its keys without end; providers usually promise a day.
        idempotency_key_seconds=86_400,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=True,
        can_refund=True,
        finds_refunds=True,
        refund_key_seconds=86_400,
        listing="exact",
        reversals="totals",
    )

    def read_mode(self, account: Account) -> str | None:
        """Return `test`: the sandbox takes no money."""
        return "test"

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body, the same bytes for the same order. Raise AmountError and CurrencyError."""
        minor = self.capabilities.amounts.to_asked_units(order.amount_minor, order.currency)
        return json.dumps(
            {
                "amount": format_amount(minor, order.currency),
                "currency": order.currency,
                "merchant_reference": str(order.payment_id),
                "callback_urls": dict(order.callback_urls),
                "success_url": order.success_url,
                "failure_url": order.failure_url,
                "expires_at": format_time(order.expires_at),
                "metadata": dict(order.metadata),
            },
            sort_keys=True,
            separators=(",", ":"),
            # UTF-8 is a third of what escapes take: full metadata in any script stays below a provider's bound.
            ensure_ascii=False,
        ).encode()

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the payment; a refusal of the payment itself is a DECLINED fact."""
        answer = self.send(account, "POST", PAYMENTS, request, {"Idempotency-Key": str(payment_id)})
        if answer.status in REFUSES_PAYMENT and answer.is_whole:
            return read_refusal(answer)
        body = read_object(answer, (200, 201))
        check_subject(body, payment_id)
        return read_accepted(body)

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, by reference or, while none is known, by our payment id."""
        if subject.reference is None:
            found = self._list(account, {"merchant_reference": str(subject.payment_id)})["data"]
            return _state(found[0], subject.payment_id) if found else Fact(FactKind.NOT_FOUND)
        answer = self.send(account, "GET", f"{PAYMENTS}/{urllib.parse.quote(subject.reference, safe='')}")
        if answer.status == 404:
            return Fact(FactKind.NOT_FOUND)
        return _state(read_object(answer), subject.payment_id)

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the payments of a period, oldest first, in pages of LIST_ROWS."""
        query = {"created_after": format_time(created_after), "created_before": format_time(created_before)}

        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            page = query | {"limit": str(LIST_ROWS)} | ({} if cursor is None else {"cursor": cursor})
            body = self._list(account, page)
            return body["data"], body.get("next_cursor")

        yield from read_rows(walk_pages(read_page), _listed)

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Close the session; return the payment's state, also where it cannot be closed any more."""
        reference = urllib.parse.quote(subject.reference or "", safe="")
        answer = self.send(account, "POST", f"{PAYMENTS}/{reference}/cancel", b"{}")
        if answer.status == 409:
            return self.fetch(account, subject)
        return _state(read_object(answer), subject.payment_id)

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body. Raise AmountError and CurrencyError."""
        minor = self.capabilities.amounts.to_units(subject.amount_minor, subject.currency)
        body = {"amount": format_amount(minor, subject.currency), "refund_id": str(subject.refund_id)}
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund; a refusal of the refund itself is a fact."""
        path = f"{PAYMENTS}/{urllib.parse.quote(subject.payment_reference, safe='')}/refund"
        answer = self.send(account, "POST", path, request, {"Idempotency-Key": str(subject.refund_id)})
        if answer.status in REFUSES_REFUND and answer.is_whole:
            code, text = _read_error(answer)
            if code in REFUSAL_CODES:
                return Fact(FactKind.REFUND_STATE, refund_state="failed", message=text)
        made = read_object(answer).get("refund")
        return _refund_state(made if isinstance(made, dict) else {}, subject)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund among those of its payment, by our id."""
        query = urllib.parse.urlencode({"payment": subject.payment_reference})
        made = read_list(read_object(self.send(account, "GET", f"{REFUNDS}?{query}")), "data")
        found = [one for one in made if one.get("refund_id") == str(subject.refund_id)]
        return _refund_state(found[0], subject) if found else Fact(FactKind.NOT_FOUND)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that a webhook names; the sandbox's own form names it as the common body does."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what a webhook says: the common body, or on the provider's path the sandbox's own for money back."""
        body = delivered.read_object()
        if delivered.path != PROVIDER_PATH:
            return (translate_callback(body, SETTLES_WITHIN_DAYS),)
        if body.get("event_type") in MONEY_BACK_EVENTS:
            return (translate_money_back(body),)
        if _is_foreign(body.get("event_type")):
            return (Ignored("of no interest"),)
        return (translate_callback(body, SETTLES_WITHIN_DAYS),)

    def _list(self, account: Account, query: Mapping[str, str | None]) -> dict[str, Any]:
        """Return one page of a list, whose `data` is a list."""
        body = read_object(self.send(account, "GET", f"{PAYMENTS}?" + urllib.parse.urlencode(query)))
        if not isinstance(body.get("data"), list):
            raise OutcomeUnknown("the provider's list cannot be read")
        return body


def read_accepted(body: Mapping[str, Any]) -> Fact:
    """Return the fact of a payment that was created now. Raise UnexpectedAnswer and OutcomeUnknown."""
    # Where the payer is asked on a device there is no page.
    prompt = clean_message(body.get("prompt")) if body.get("redirect_url") is None else None
    page = None if prompt else read_redirect_url(body)
    return Fact(FactKind.ACCEPTED, read_answer_reference(body), page, prompt=prompt)


def _refund_state(body: Mapping[str, Any], subject: RefundSubject) -> Fact:
    """Return the state of the refund in `body`, which must be `subject`. Raise UnexpectedAnswer."""
    if body.get("refund_id") != str(subject.refund_id):
        raise UnexpectedAnswer("the provider's answer is about another refund", "refund_id")
    state, reference = body.get("status"), body.get("reference")
    if state not in ("processing", "completed", "failed"):
        raise UnexpectedAnswer("the provider's answer has an unknown status of the refund", "status")
    if not is_reference(reference):
        raise UnexpectedAnswer("the provider's answer has no id of the refund that can be kept", "reference")
    return Fact(FactKind.REFUND_STATE, reversal_id=str(reference), refund_state=state)


def _is_foreign(event_type: object) -> bool:
    """Return whether a webhook is about something else than the payments that we know of."""
    return isinstance(event_type, str) and event_type not in EVENT_TYPES


def _state(body: Any, asked: uuid.UUID | None = None) -> Fact:
    """Return the state of the payment in `body`, which must be `asked`, where that is given."""
    if not isinstance(body, dict):
        raise OutcomeUnknown("the provider's answer is no object")
    if asked is not None:
        check_subject(body, asked)
    status = body.get("status")
    if not isinstance(status, str):
        raise OutcomeUnknown("the provider's answer has no status")
    kind = KINDS.get(status)
    if kind is None:
        raise UnexpectedAnswer(f"the provider's answer has an unknown status: {redact(status[:40])!r}", "status")
    reference = read_answer_reference(body)
    if kind is not FactKind.SUCCEEDED:
        return _unpaid(kind, reference, body)
    try:
        currency = str(body.get("received_currency") or body.get("currency"))
        amount_minor = parse_exact_amount(body.get("received_amount"), currency)
        given_back = str(body.get("refunded_amount") or "0")
        # Zero may be written without the currency's digits.
        refunded = parse_exact_amount(given_back, currency) if given_back.strip("0.") else 0
    except (AmountError, CurrencyError) as error:
        raise UnexpectedAnswer(f"the provider's answer has an unreadable amount: {error}", "received_amount") from error
    redirect_url = body.get("redirect_url")
    return Fact(
        kind, reference, redirect_url if is_redirect_url(redirect_url) else None, amount_minor, currency, refunded
    )


def _unpaid(kind: FactKind, reference: str, body: Mapping[str, Any]) -> Fact:
    # Only an open payment needs the URL; a wrong one must not stop the end of another.
    is_open = kind in (FactKind.PENDING, FactKind.COMMITTED)
    redirect_url = read_redirect_url(body) if is_open and body.get("redirect_url") not in (None, "") else None
    if kind is FactKind.COMMITTED:
        return Fact(kind, reference, redirect_url, settles_within_days=SETTLES_WITHIN_DAYS)
    return Fact(
        kind, reference, redirect_url, message=read_error_message(body), is_expiry=body.get("status") == "expired"
    )


def _listed(body: Any) -> Listed:
    fact = _state(body)
    try:
        currency = str(body.get("currency"))
        asked = parse_exact_amount(body.get("amount"), currency)
    except (AmountError, CurrencyError) as error:
        raise UnexpectedAnswer(f"the provider's list has an unreadable amount: {error}", "amount") from error
    payment_id = read_own_id(body.get("merchant_reference"))
    return Listed(payment_id, read_answer_reference(body), asked, currency, fact.refunded_minor or 0, fact)


def _read_error(answer: ProviderAnswer) -> tuple[str, str]:
    """Return the code and the text of a refusal; an unreadable one has no code."""
    try:
        error = loads(answer.body)["error"]
        code, message = error.get("code"), error.get("message")
    except (JsonError, KeyError, TypeError, AttributeError):
        code = message = None
    text = read_error_message({"error_message": message}) or "refused by the provider"
    return code if isinstance(code, str) else "", text


def read_refusal(answer: ProviderAnswer) -> Fact:
    """Return the fact of a refused payment. Raise ProviderRefusedUs unless the code says that it is the payment's."""
    code, text = _read_error(answer)
    if code != PAYMENT_DECLINED:
        return refuse(f"{text} ({code or answer.status})", is_about_payment=False)
    return Fact(FactKind.DECLINED, message=text)
