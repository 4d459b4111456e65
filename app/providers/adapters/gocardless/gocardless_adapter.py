"""The adapter of GoCardless: billing requests, with which a payer is sent to GoCardless's own page.

It takes two calls: one makes the billing request under our idempotency key, the other its flow, which has the page. A
used key is answered with the id of what it made. A flow that was lost is simply made again: it leads to the same
request. Once the payer is through, the request has a payment, whose state counts. GoCardless does not search by
metadata: while a reference is not known, the list of its time is read.

A payment may fail after it was confirmed, or be charged back: its events say so, and name each time by their ids.

No test here could check against GoCardless itself: the filters of its list, how soon an idempotency key is forgotten,
which states a flow may still be made in, what its page does with an address that it was given, what its events say of
a payment that is collected again after a late failure, and how it refuses a refund.
"""

from __future__ import annotations

import datetime
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from app.core.facts import Fact, FactKind
from app.core.payment import format_time
from app.core.signatures import HMAC_HEX, Scheme
from app.core.strict_json import loads
from app.providers.adapter import Account, Listed, Order, Subject
from app.providers.adapters.gocardless.gocardless_calls import (
    FLOWS,
    PAYMENTS,
    REFUNDS,
    REFUSED,
    REQUESTS,
    check_own,
    encode,
    read_conflict,
    read_errors,
    read_one,
)
from app.providers.adapters.gocardless.gocardless_events import (
    AMOUNTS,
    FULFILLED,
    OWN_ID,
    SETTLES_WITHIN_DAYS,
    name_payment,
    read_metadata_id,
    read_payment,
    read_payment_link,
    read_request,
    translate,
)
from app.providers.adapters.gocardless.gocardless_history import read_refund, with_history
from app.providers.adapters.gocardless.gocardless_refunds import GoCardlessRefunds
from app.providers.calls.answer_fields import read_creation, read_kept_id, read_redirect_url, read_units
from app.providers.calls.given_back import sum_movements
from app.providers.calls.http_adapter import read_failure, read_rows, refuse
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.capabilities import Capabilities
from app.providers.credentials import API_KEY, Credential
from app.providers.events import Delivered, Event, Name
from app.providers.signing import SchemeSigned

# It promises no life of its keys.
KEY_SECONDS = 86_400
# How far GoCardless's clock may be from ours.
_CLOCK = datetime.timedelta(minutes=5)
# Three pairs of metadata, of which one has our id.
METADATA_MAX = 3
_MODES = {"api.gocardless.com": "live", "api-sandbox.gocardless.com": "test"}


class GoCardlessAdapter(GoCardlessRefunds, SchemeSigned):
    """Talks to GoCardless over its HTTP API."""

    scheme: Scheme | None = Scheme(HMAC_HEX, header="webhook-signature")
    base_urls: ClassVar[Mapping[str, str]] = {mode: f"https://{host}" for host, mode in _MODES.items()}
    check_path: ClassVar[str | None] = "/creditors"
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(
            API_KEY, "Access token with read-write access, of GoCardless's page Developers, Create, Access token"
        ),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=KEY_SECONDS,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=True,
        can_refund=True,
        finds_refunds=True,
        refund_key_seconds=KEY_SECONDS,
        listing="exact",
        reversals="ids",
        can_expire=False,
        joins_events=True,
        metadata_pairs_max=METADATA_MAX - 1,
    )

    def read_mode(self, account: Account) -> str | None:
        """Return the mode that the URL says."""
        return _MODES.get(urllib.parse.urlsplit(account.api_base_url).hostname or "")

    def build_request(self, order: Order) -> bytes:
        """Return the bodies of both create calls, one a line, the same bytes for the same order.

        Raise AmountError and CurrencyError.
        """
        named = {**order.metadata, OWN_ID: str(order.payment_id)}
        money = {"amount": AMOUNTS.to_asked_units(order.amount_minor, order.currency), "currency": order.currency}
        wanted = {**money, "description": order.description or "Deposit", "metadata": named}
        flow: dict[str, Any] = {
            key: url
            for key, url in (
                ("redirect_uri", order.success_url),
                ("exit_uri", order.failure_url or order.success_url),
            )
            if url is not None
        }
        if "email" in order.customer:
            flow["prefilled_customer"] = {"email": order.customer["email"]}
        return encode({REQUESTS: {"payment_request": wanted, "metadata": named}}) + b"\n" + encode(flow)

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the billing request, or find the one of an earlier try, and then its flow.

        A refusal of the payment itself is a DECLINED fact.
        """
        wanted, _, flow = request.partition(b"\n")
        answer = self.send(account, "POST", f"/{REQUESTS}", wanted, {"Idempotency-Key": str(payment_id)})
        if answer.status in REFUSED:
            made = read_conflict(answer)
            if made is None:
                return _refusal(answer)
            answer = self.read(account, REQUESTS, made)
        body = read_one(answer, REQUESTS)
        check_own(body, payment_id)
        fact = self._state(account, body)
        if fact.kind is not FactKind.PENDING:
            return fact
        asked = {FLOWS: {**loads(flow), "links": {"billing_request": fact.reference}}}
        answer = self.send(account, "POST", f"/{FLOWS}", encode(asked))
        if answer.status in REFUSED:
            return _refusal(answer)
        url = read_redirect_url(read_one(answer, FLOWS), "authorisation_url")
        return replace(fact, kind=FactKind.ACCEPTED, redirect_url=url)

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, with what was given back: by reference, or by our id in the list of its time."""
        if subject.reference is None:
            body = self._find(account, subject.payment_id)
        else:
            answer = self.read(account, REQUESTS, subject.reference)
            body = None if answer.status == 404 else read_one(answer, REQUESTS)
        if body is None:
            return Fact(FactKind.NOT_FOUND)
        check_own(body, subject.payment_id)
        return self._state(account, body)

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the billing requests of a period, newest first; one that cannot be read is looked up as well."""
        period = {
            "created_at[gte]": str(format_time(created_after)),
            "created_at[lt]": str(format_time(created_before)),
        }
        yield from read_rows(self.list_rows(account, REQUESTS, period), lambda body: self._listed(account, body))

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Cancel the billing request; return the payment's state, also where it is too late."""
        path = f"/{REQUESTS}/{urllib.parse.quote(subject.reference or '', safe='')}/actions/cancel"
        answer = self.send(account, "POST", path, b"{}")
        if answer.status in REFUSED:
            return self.fetch(account, subject)
        body = read_one(answer, REQUESTS)
        check_own(body, subject.payment_id)
        return self._state(account, body)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that a delivery's first event names."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what a delivery says, event by event."""
        return translate(delivered.read_object())

    def _find(self, account: Account, payment_id: uuid.UUID) -> dict[str, Any] | None:
        """Return the billing request with our id."""
        since = {"created_at[gte]": str(format_time(read_creation(payment_id) - _CLOCK))}
        rows = self.list_rows(account, REQUESTS, since)
        return next((row for row in rows if read_metadata_id(row) == payment_id), None)

    def _state(self, account: Account, body: Mapping[str, Any]) -> Fact:
        """Return the state of a billing request and its payment, with what was given back."""
        request, link = read_request(body), read_payment_link(body)
        if body.get("status") != FULFILLED or link is None:
            return request
        payment = read_one(self.read(account, PAYMENTS, str(link)), PAYMENTS)
        of_payment = {"payment": str(link)}
        fact = with_history(read_payment(request, payment), payment, self.list_rows(account, "events", of_payment))
        if fact.kind is not FactKind.SUCCEEDED:
            return fact
        refunded = [one for row in self.list_rows(account, REFUNDS, of_payment) for one in read_refund(row)]
        return replace(fact, movements=(*refunded, *fact.movements))

    def _listed(self, account: Account, body: Mapping[str, Any]) -> Listed:
        payment_id = read_metadata_id(body)
        # Of a request that is not ours, its payment does not matter.
        fact = read_request(body) if payment_id is None else self._state(account, body)
        asked = body.get("payment_request")
        amount_minor, currency = read_units(AMOUNTS, asked if isinstance(asked, dict) else {}, "amount")
        return Listed(payment_id, read_kept_id(body), amount_minor, currency, sum_movements(fact), fact)


def _refusal(answer: ProviderAnswer) -> Fact:
    """Return the fact of a refused create call, where it is about the amount.

    Raise ProviderRefusedUs where our request or the account is wrong, UnexpectedAnswer while the first call with the
    key is still under way.
    """
    error, errors = read_errors(answer)
    if answer.status == 409:
        raise read_failure(answer)
    fields = [str(one.get("field")) for one in errors if one.get("field")]
    is_about_payment = bool(fields) and set(fields) == {"amount"}
    said = "; ".join(str(one.get("message")) for one in errors) or error.get("message")
    return refuse(f"{said} ({', '.join(fields) or error.get('type')})", is_about_payment=is_about_payment)
