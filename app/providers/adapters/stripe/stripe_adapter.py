"""The adapter of Stripe: Checkout Sessions, with which a payer is sent to Stripe's own payment page.

The session's `client_reference_id` is our payment id. The payment intent has it in `metadata[payment_id]`, which
Stripe copies on to the charge, so that events about these name it as well. Pairs of metadata whose key has brackets
are not sent, since Stripe refuses them. A slow method that failed and whose event was lost is taken for one that is
under way, until the time for it is up.

No test here could check against Stripe itself: which currencies it takes, how long slow methods take, how it words
refusals, and what becomes of sessions that are older than its list shows.

Refunds and disputes name the payment by its payment intent: those of payments that others have made with the same
account are found to be no payment of ours after a while, and ignored.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.core.signatures import STRIPE, Scheme
from app.providers.adapter import Account, Listed, Order, RefundSubject, Subject
from app.providers.adapters.stripe import stripe_refunds as refunds
from app.providers.adapters.stripe.stripe_amounts import AMOUNTS, read_money
from app.providers.adapters.stripe.stripe_events import (
    EVENTS,
    SETTLES_WITHIN_DAYS,
    name_payment,
    read_session,
    translate,
)
from app.providers.adapters.stripe.stripe_money_back import read_disputes, read_movements
from app.providers.calls.answer_fields import check_own_id, keep_ids, read_creation, read_kept_id, read_own_id
from app.providers.calls.given_back import sum_movements
from app.providers.calls.http_adapter import (
    HttpAdapter,
    accept,
    read_error,
    read_found,
    read_list,
    read_object,
    read_rows,
    refuse,
    walk_pages,
)
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.capabilities import Capabilities
from app.providers.connectable import Registration, keep_registration
from app.providers.credentials import API_KEY, Credential
from app.providers.events import Delivered, Event, Name
from app.providers.page_life import clamp_end
from app.providers.signing import SchemeSigned

# The version whose objects this adapter reads; without the header it is the account's.
VERSION = "2026-10-28.endive"
SESSIONS, ENDPOINTS = "/v1/checkout/sessions", "/v1/webhook_endpoints"
# The session's field with our payment id.
OWN_ID = "client_reference_id"
LIST_ROWS = 100
# Fifty pages: as many as a lookup may take without delaying the others for long.
FIND_ROWS_MAX = 50 * LIST_ROWS
# Refusals of what the deposit says. All others are about fields that this adapter made, or about the account.
DEPOSIT_CODES = frozenset({"amount_too_large", "amount_too_small", "email_invalid"})
DECLINED = 402

# A session ends 30 minutes to 24 hours from its creation. A request takes a moment to arrive.
LIFE_SECONDS_MIN = 30 * 60
LIFE_SECONDS_MAX = 24 * 3600
# How far Stripe's clock may be from ours, and how long after its deposit a payment may still be created.
_CLOCK = datetime.timedelta(minutes=5)
_CREATED_WITHIN = datetime.timedelta(seconds=LIFE_SECONDS_MAX)

_MODES = {"sk_test_": "test", "rk_test_": "test", "sk_live_": "live", "rk_live_": "live"}


class StripeAdapter(HttpAdapter, SchemeSigned):
    """Talks to Stripe over its HTTP API, with form-encoded requests."""

    content_type: ClassVar[str] = "application/x-www-form-urlencoded"
    check_path: ClassVar[str | None] = "/v1/account"
    scheme: Scheme | None = Scheme(STRIPE)
    base_urls: ClassVar[Mapping[str, str]] = dict.fromkeys(("test", "live"), "https://api.stripe.com")
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(
            API_KEY,
            "Secret key, or a restricted key, on Stripe's page Developers, API keys",
            pattern=re.compile(r"[sr]k_(test|live)_[A-Za-z0-9_]+", re.ASCII),
            form="begins with sk_test_, sk_live_, rk_test_ or rk_live_",
        ),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=86_400,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=True,
        can_refund=True,
        finds_refunds=True,
        refund_key_seconds=86_400,
        listing="exact",
        reversals="ids",
        says_mode=True,
        # A payment that ends sooner has its session closed by us.
        longest_life_seconds=LIFE_SECONDS_MAX,
        required_fields=("success_url",),
    )

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the headers with the account's key and the version of the API."""
        return {**super().authorize(account), "Stripe-Version": VERSION}

    def read_mode(self, account: Account) -> str | None:
        """Return the mode that the key says."""
        return _MODES.get(account.credentials[API_KEY][:8])

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body, the same bytes for the same order. Raise AmountError and CurrencyError.

        Raise ValueError without a URL for the payer's return, which a deposit is asked for.
        """
        if order.success_url is None:
            raise ValueError("Stripe needs a success_url")
        fields = {
            "mode": "payment",
            OWN_ID: str(order.payment_id),
            "payment_intent_data[metadata][payment_id]": str(order.payment_id),
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": order.currency.lower(),
            "line_items[0][price_data][unit_amount]": str(AMOUNTS.to_asked_units(order.amount_minor, order.currency)),
            "line_items[0][price_data][product_data][name]": order.description or "Deposit",
            "success_url": order.success_url,
            "expires_at": str(clamp_end(order, LIFE_SECONDS_MIN, LIFE_SECONDS_MAX)),
        }
        if order.failure_url is not None:
            fields["cancel_url"] = order.failure_url
        if "email" in order.customer:
            fields["customer_email"] = order.customer["email"]
        fields |= {f"metadata[{key}]": value for key, value in order.metadata.items() if not set("[]") & set(key)}
        return urllib.parse.urlencode(sorted(fields.items())).encode("ascii")

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the session; a refusal of the payment itself is a DECLINED fact."""
        answer = self.send(account, "POST", SESSIONS, request, {"Idempotency-Key": str(payment_id)})
        if answer.status in (400, DECLINED):
            return _refusal(answer)
        body = read_object(answer)
        check_own_id(body.get(OWN_ID), payment_id, OWN_ID)
        fact = read_session(body)
        if fact.kind is not FactKind.PENDING:
            # An earlier try of the same key, and what came of it.
            return fact
        return accept(fact, "url")

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, with what was given back: by reference, or by our id in the list of its time."""
        if subject.reference is None:
            body = self._find(account, subject.payment_id)
        else:
            body = read_found(self.send(account, "GET", f"{SESSIONS}/{_quote(subject.reference)}"))
        if body is None:
            return Fact(FactKind.NOT_FOUND)
        check_own_id(body.get(OWN_ID), subject.payment_id, OWN_ID)
        return self._state(account, body)

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the sessions of a period, newest first; one that cannot be read is looked up by itself as well."""
        rows = self._list(account, SESSIONS, _period(created_after, created_before))
        yield from read_rows(rows, lambda body: self._listed(account, body))

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Expire the session; return the payment's state, also where it is not open any more."""
        answer = self.send(account, "POST", f"{SESSIONS}/{_quote(subject.reference or '')}/expire", b"")
        if answer.status == 400:
            return self.fetch(account, subject)
        body = read_object(answer)
        check_own_id(body.get(OWN_ID), subject.payment_id, OWN_ID)
        return self._state(account, body)

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body, to which the payment intent is added. Raise AmountError and CurrencyError."""
        return refunds.build_refund(subject)

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the session's payment intent; a refusal of the refund itself is a fact."""
        body = refunds.name_intent(request, self._read_intent(account, subject))
        answer = self.send(account, "POST", refunds.PATH, body, {"Idempotency-Key": str(subject.refund_id)})
        return refunds.read_answer(answer, subject)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund by its id, or by ours among those of its payment intent."""
        if subject.reference is not None:
            shown = read_found(self.send(account, "GET", f"{refunds.PATH}/{_quote(subject.reference)}"))
        else:
            rows = self._list(account, refunds.PATH, {"payment_intent": self._read_intent(account, subject)})
            shown = next((row for row in rows if refunds.is_of(row, subject)), None)
        return Fact(FactKind.NOT_FOUND) if shown is None else refunds.read_state(shown, subject)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that an event's object names."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what an event says."""
        return translate(delivered.read_object())

    def register_webhooks(self, account: Account, webhook_url: str, known_id: str | None) -> Registration:
        """Make an endpoint at Stripe for the events that are read, unless the known one is there."""
        if known_id is not None:
            shown = read_found(self.send(account, "GET", f"{ENDPOINTS}/{_quote(known_id)}")) or {}
            if shown.get("url") == webhook_url:
                return keep_registration(known_id, shown.get("enabled_events"), EVENTS)
        events = {f"enabled_events[{index}]": kind for index, kind in enumerate(EVENTS)}
        request = urllib.parse.urlencode({"url": webhook_url, "api_version": VERSION, **events}).encode("ascii")
        # A repeated call of a day is answered alike, but not with an endpoint that has been deleted since.
        digest = hashlib.sha256(request + str(known_id).encode()).hexdigest()
        keyed = {"Idempotency-Key": f"connect:{account.provider_id}:{digest}"}
        body = read_object(self.send(account, "POST", ENDPOINTS, request, keyed))
        secret = body.get("secret")
        if not isinstance(secret, str):
            raise UnexpectedAnswer("the provider's answer has no secret", "secret")
        return Registration(read_kept_id(body), secret, "nothing: Stripe sends the events that Sluice reads")

    def _read_intent(self, account: Account, subject: RefundSubject) -> str:
        """Return the payment intent of the session whose money is refunded."""
        body = read_object(self.send(account, "GET", f"{SESSIONS}/{_quote(subject.payment_reference)}"))
        check_own_id(body.get(OWN_ID), subject.payment_id, OWN_ID)
        for intent in keep_ids(body.get("payment_intent")):
            return intent
        raise UnexpectedAnswer("the provider's session has no payment intent", "payment_intent")

    def _find(self, account: Account, payment_id: uuid.UUID) -> dict[str, Any] | None:
        """Return the session with our id: Stripe does not search by it, and our ids say when they were made."""
        made = read_creation(payment_id)
        period = _period(made - _CLOCK, made + _CREATED_WITHIN + _CLOCK)
        own = str(payment_id)
        for index, row in enumerate(self._list(account, SESSIONS, period)):
            if row.get(OWN_ID) == own:
                return row
            if index >= FIND_ROWS_MAX:
                raise OutcomeUnknown(f"the payment is not among the newest {FIND_ROWS_MAX} of its time")
        return None

    def _list(self, account: Account, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            asked = {"limit": str(LIST_ROWS), **query} | ({} if cursor is None else {"starting_after": cursor})
            body = read_object(self.send(account, "GET", f"{path}?{urllib.parse.urlencode(asked)}"))
            rows = read_list(body, "data")
            return rows, rows[-1].get("id") if rows and body.get("has_more") else None

        return walk_pages(read_page)

    def _state(self, account: Account, body: Mapping[str, Any]) -> Fact:
        """Return the state of a session, with what was given back. Raise UnexpectedAnswer where it cannot be read."""
        fact = read_session(body)
        if fact.kind is not FactKind.SUCCEEDED or not fact.aliases:
            return fact
        of_intent = {"payment_intent": fact.aliases[0]}
        given_back, disputes = ([*self._list(account, path, of_intent)] for path in (refunds.PATH, "/v1/disputes"))
        return replace(fact, movements=read_movements(given_back, disputes), disputes=read_disputes(disputes))

    def _listed(self, account: Account, body: Mapping[str, Any]) -> Listed:
        payment_id = read_own_id(body.get(OWN_ID))
        # Of a session that is not ours, money that went back does not matter.
        fact = self._state(account, body) if payment_id else read_session(body)
        asked, currency = read_money(body, "amount_total")
        return Listed(payment_id, read_kept_id(body), asked, currency, sum_movements(fact), fact)


def _quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _period(after: datetime.datetime, before: datetime.datetime) -> dict[str, str]:
    """Return the query for sessions created from `after` to before `before`; Stripe counts in whole seconds."""
    return {"created[gte]": str(math.floor(after.timestamp())), "created[lt]": str(math.ceil(before.timestamp()))}


def _refusal(answer: ProviderAnswer) -> Fact:
    """Return the fact of a refused create call.

    Raise ProviderRefusedUs where our request or the account is wrong, which is not the payer's.
    """
    error = read_error(answer, "error")
    code = error.get("code")
    is_about_payment = answer.status == DECLINED or code in DEPOSIT_CODES
    return refuse(f"{error.get('message')} ({error.get('param') or code})", is_about_payment=is_about_payment)
