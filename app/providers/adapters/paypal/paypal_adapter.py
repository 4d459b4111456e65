"""The adapter of PayPal: orders, whose payer approves on PayPal's own page and whose money we capture.

The order's `custom_id` is our payment id; events about captures have it as well. PayPal finds no order by it, so a
create call is only repeated while its key lives; nobody has the page of an order whose creation was never answered, and
nobody can pay it. PayPal has no call that ends an order: it ends by itself, and what a payer
approves after the end here is not captured and given back by PayPal.

No test here could check against PayPal itself: which issues of a refused capture leave the order to be approved again,
whether an order keeps the status APPROVED after such a refusal, how an order that expired is shown, whether the served
certificates include the intermediate ones, and which time a webhook has that is sent again.
"""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from app.core.errors import OutcomeUnknown
from app.core.facts import Fact, FactKind
from app.providers.adapter import Account, Listed, Order, Subject
from app.providers.adapters.paypal import paypal_registration
from app.providers.adapters.paypal.paypal_certificates import LIVE_HOST
from app.providers.adapters.paypal.paypal_events import (
    AMOUNTS,
    CAPTURE_SECONDS,
    SETTLES_WITHIN_DAYS,
    name_payment,
    read_money,
    read_order,
    read_payment_id,
    read_unit,
    translate,
    write_money,
)
from app.providers.adapters.paypal.paypal_refunds import PayPalRefunds
from app.providers.adapters.paypal.paypal_signing import CERTIFICATE_URL, PayPalSigned
from app.providers.adapters.paypal.paypal_tokens import TOKEN_PATH, Tokens
from app.providers.calls.answer_fields import check_own_id, clean_message, read_own_id
from app.providers.calls.http_adapter import (
    HttpAdapter,
    accept,
    read_error,
    read_found,
    read_object,
    read_rows,
    refuse,
    walk_pages,
)
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.capabilities import Capabilities
from app.providers.connectable import Registration
from app.providers.credentials import Credential
from app.providers.events import Delivered, Event, Name

ORDERS = "/v2/checkout/orders"
LIST_ROWS = 500
_WORD = re.compile(r"[A-Za-z0-9_-]{8,255}", re.ASCII)
_WHOLE_ANSWER = {"Prefer": "return=representation"}
_MODES = {"api-m.paypal.com": "live", "api.paypal.com": "live"}

# https://developer.paypal.com/api/rest/reference/orders/v2/errors/: refusals of what the payment is.
_AMOUNT_ISSUES = frozenset({"MAX_VALUE_EXCEEDED", "AMOUNT_NOT_PATCHABLE", "TRANSACTION_LIMIT_EXCEEDED"})
# Refusals of a capture after which the payer may choose another way to pay, or has to approve again.
_PAYER_ISSUES = frozenset(
    {
        *("INSTRUMENT_DECLINED", "PAYER_ACTION_REQUIRED", "PAYER_CANNOT_PAY", "TRANSACTION_REFUSED"),
        *("REDIRECT_PAYER_FOR_ALTERNATE_FUNDING", "ORDER_NOT_APPROVED", "TRANSACTION_LIMIT_EXCEEDED"),
        *("PAYER_ACCOUNT_LOCKED_OR_CLOSED", "PAYER_ACCOUNT_RESTRICTED", "CARD_EXPIRED"),
    }
)
_STATE_ISSUES = frozenset({"ORDER_ALREADY_CAPTURED", "ORDER_EXPIRED", "ORDER_CANNOT_BE_CAPTURED", "ORDER_VOIDED"})
# Payments in the report; others are fees, refunds and transfers.
_PAYMENT_CODES = re.compile(r"T00[0-9]{2}", re.ASCII)
# What the report may span, and how long after its order money may come: an approval waits three hours, a review days.
_SPAN, _LATER = datetime.timedelta(days=31), datetime.timedelta(days=2)


class PayPalAdapter(PayPalSigned, PayPalRefunds):
    """Talks to PayPal over its REST API, with a token for which it exchanges the account's credentials."""

    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(
            "client_id",
            "Client ID of the app, on PayPal's page Apps & Credentials",
            pattern=_WORD,
            form="has letters, digits, - and _",
        ),
        Credential("client_secret", "Secret of the same app", pattern=_WORD, form="has letters, digits, - and _"),
    )
    base_urls: ClassVar[Mapping[str, str]] = {
        "test": "https://api-m.sandbox.paypal.com",
        "live": "https://api-m.paypal.com",
    }
    check_path: ClassVar[str | None] = "/v1/notifications/webhooks-event-types"
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=6 * 3_600,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=False,
        can_refund=True,
        finds_refunds=True,
        refund_key_seconds=45 * 86_400,
        listing="exact",
        reversals="ids",
        can_find=False,
        list_lag_seconds=3 * 3_600,
        lists_unpaid=False,
        capture_within_seconds=CAPTURE_SECONDS,
        capture_key_seconds=45 * 86_400,
    )

    def __init__(self, private_hosts: frozenset[str]) -> None:
        HttpAdapter.__init__(self, private_hosts)
        PayPalSigned.__init__(self, self._fetch_certificate, private_hosts)
        self._tokens = Tokens(self._exchange)

    def read_mode(self, account: Account) -> str:
        """Return the mode that the host of the account says."""
        return _MODES.get(urllib.parse.urlsplit(account.api_base_url).hostname or "", "test")

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the header with the account's token. Raise NotSent where none can be had."""
        return {"Authorization": f"Bearer {self._tokens.read(account)}"}

    def send(
        self,
        account: Account,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        """Send one request; where PayPal refuses a token before its end, once more with a new one: it has not acted."""
        answer = super().send(account, method, path, body, headers)
        if answer.status == 401 and self._tokens.drop(account):
            return super().send(account, method, path, body, headers)
        return answer

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body, the same bytes for the same order. Raise AmountError and CurrencyError."""
        context = {"user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING"}
        if order.success_url is not None:
            context["return_url"] = order.success_url
        if order.failure_url is not None:
            context["cancel_url"] = order.failure_url
        unit: dict[str, Any] = {
            "custom_id": str(order.payment_id),
            "amount": write_money(order.amount_minor, order.currency),
        }
        if order.description:
            unit["description"] = order.description[:127]
        fields = {
            "intent": "CAPTURE",
            "purchase_units": [unit],
            "payment_source": {"paypal": {"experience_context": context}},
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the order; a refusal of the payment itself is a DECLINED fact."""
        answer = self.send(account, "POST", ORDERS, request, _WHOLE_ANSWER | {"PayPal-Request-Id": str(payment_id)})
        if answer.status in (400, 422):
            issue, text = _read_issue(answer)
            return refuse(f"{text} ({issue})", is_about_payment=issue in _AMOUNT_ISSUES)
        fact = _read_own(read_object(answer, (200, 201)), payment_id)
        if fact.kind is not FactKind.PENDING:
            # An earlier try of the same key, and what came of it.
            return fact
        return accept(fact, "links")

    def advance(self, account: Account, subject: Subject) -> Fact:
        """Capture the order: with one key for each approval, since PayPal repeats the answer that a key had."""
        later = f":{subject.approval}" if subject.approval > 1 else ""
        keyed = _WHOLE_ANSWER | {"PayPal-Request-Id": f"{subject.payment_id}:capture{later}"}
        answer = self.send(account, "POST", f"{_path(subject)}/capture", b"{}", keyed)
        if answer.status not in (400, 422):
            return _read_own(read_object(answer, (200, 201)), subject.payment_id)
        issue, text = _read_issue(answer)
        if issue in _STATE_ISSUES:
            return self.fetch(account, subject)
        if issue in _PAYER_ISSUES:
            return Fact(FactKind.ATTEMPT_DECLINED, subject.reference, message=clean_message(text), technical=issue)
        return refuse(f"{text} ({issue})", is_about_payment=False)

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, with what was given back. Raise OutcomeUnknown without a reference."""
        if subject.reference is None:
            raise OutcomeUnknown("PayPal finds no order by our id")
        order = read_found(self.send(account, "GET", _path(subject)))
        return Fact(FactKind.NOT_FOUND) if order is None else _read_own(order, subject.payment_id)

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the paid orders that were created in a period; the report has their captures, by the time of these."""
        start, end = created_after, created_before + _LATER
        while start < end:
            until = min(start + _SPAN, end)
            found = (self._find_order(account, row) for row in self._report(account, start, until))
            ours = (one for one in found if one and created_after <= _read_created(one) < created_before)
            yield from read_rows(ours, _read_listed)
            start = until

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Return the present state: PayPal has no call that ends an order."""
        return self.fetch(account, subject)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that an event's object names."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what an event says; the host of its certificate says whether it is about real money."""
        host = urllib.parse.urlsplit(str(delivered.headers.get(CERTIFICATE_URL))).hostname
        return translate(delivered.read_object(), is_live=host == LIVE_HOST)

    def register_webhooks(self, account: Account, webhook_url: str, known_id: str | None) -> Registration:
        """Add a webhook to the app, unless there is one of this URL."""
        return paypal_registration.register(self.send, account, webhook_url)

    def _exchange(self, account: Account, basic: str) -> ProviderAnswer:
        headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._outgoing.send("POST", account.api_base_url + TOKEN_PATH, headers, b"grant_type=client_credentials")

    def _fetch_certificate(self, url: str) -> ProviderAnswer:
        return self._outgoing.send("GET", url, {"Accept": "*/*"})

    def _report(
        self, account: Account, after: datetime.datetime, before: datetime.datetime
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the transactions that name a payment of ours."""
        period = {"start_date": _write_time(after), "end_date": _write_time(before), "fields": "transaction_info"}

        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            query = urllib.parse.urlencode(period | {"page_size": str(LIST_ROWS), "page": cursor or "1"})
            body = read_object(self.send(account, "GET", f"/v1/reporting/transactions?{query}"))
            rows, page, pages = body.get("transaction_details"), body.get("page"), body.get("total_pages")
            if not isinstance(rows, list) or not isinstance(page, int) or not isinstance(pages, int):
                raise OutcomeUnknown("the provider's report cannot be read")
            return rows, str(page + 1) if rows and page < pages else None

        for row in walk_pages(read_page):
            info = row.get("transaction_info") if isinstance(row, dict) else None
            info = info if isinstance(info, dict) else {}
            is_payment = _PAYMENT_CODES.fullmatch(str(info.get("transaction_event_code")))
            if is_payment and read_own_id(info.get("custom_field")) is not None:
                yield info

    def _find_order(self, account: Account, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the order of a transaction, None where it is not found any more."""
        capture_id = urllib.parse.quote(str(info.get("transaction_id")), safe="")
        capture = read_found(self.send(account, "GET", f"/v2/payments/captures/{capture_id}"))
        if capture is None:
            return None
        related = capture.get("supplementary_data")
        ids = related.get("related_ids") if isinstance(related, dict) else None
        order_id = ids.get("order_id") if isinstance(ids, dict) else None
        if not isinstance(order_id, str):
            raise OutcomeUnknown("the provider's capture names no order")
        return read_found(self.send(account, "GET", f"{ORDERS}/{urllib.parse.quote(order_id, safe='')}"))


def _path(subject: Subject) -> str:
    return f"{ORDERS}/{urllib.parse.quote(subject.reference or '', safe='')}"


def _read_own(order: Mapping[str, Any], payment_id: uuid.UUID) -> Fact:
    check_own_id(read_unit(order).get("custom_id"), payment_id, "custom_id")
    return read_order(order)


def _read_created(order: Mapping[str, Any]) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(str(order.get("create_time"))).astimezone(datetime.UTC)
    except ValueError:
        raise OutcomeUnknown("the provider's order does not say when it was created") from None


def _read_listed(order: Mapping[str, Any]) -> Listed:
    asked_minor, currency = read_money(read_unit(order))
    fact = read_order(order)
    return Listed(read_payment_id(order), str(fact.reference), asked_minor, currency, 0, fact)


def _write_time(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_issue(answer: ProviderAnswer) -> tuple[str, str]:
    """Return issue and text of a refusal. Raise the failure of its status where it is no object."""
    body = read_error(answer)
    details = body.get("details")
    detail = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    return str(detail.get("issue") or body.get("name")), str(detail.get("description") or body.get("message"))
