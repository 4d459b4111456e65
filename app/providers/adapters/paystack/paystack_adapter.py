"""The adapter of Paystack: transactions, whose payer is sent to Paystack's own payment page.

The transaction's reference is our payment id. Paystack has no idempotency keys: it refuses a second transaction with
the same reference, so an answer that was lost is never repeated, and with it the address of the page is lost. The
next try then creates the payment under its next reference. Nobody has the first one's page, so nobody can pay it.

Paystack has no call that ends a transaction, and sends no event for an attempt that failed or a page that was left.
Its events about refunds name no refund by its id, so refunds and disputes are read from their lists. A dispute takes
money once it is lost.

No test here could check against Paystack itself: how an unknown reference is answered (404 or 400, both are read),
whether its lists of refunds and disputes obey `transaction` (rows of others are left out), how a refund that a lost
dispute made is listed (by its `dispute` it counts once), and which refusals are about the amount (all count as ours).
"""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.core.payment import format_time
from app.core.signatures import HMAC_SHA512_HEX, Scheme
from app.providers.adapter import Account, Listed, Order, RefundSubject, Subject
from app.providers.adapters.paystack import paystack_refunds as refunds
from app.providers.adapters.paystack.paystack_events import (
    ABANDONED,
    AMOUNTS,
    name_payment,
    name_references,
    read_payment_id,
    read_transaction,
    translate,
)
from app.providers.adapters.paystack.paystack_given_back import GivenBack, read_given_back, with_given_back
from app.providers.calls.answer_fields import read_redirect_url, read_units
from app.providers.calls.given_back import sum_movements
from app.providers.calls.http_adapter import (
    HttpAdapter,
    read_error,
    read_failure,
    read_list,
    read_object,
    read_rows,
    refuse,
    walk_pages,
)
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.calls.refund_answers import refuse_refund
from app.providers.capabilities import Capabilities
from app.providers.credentials import API_KEY, Credential
from app.providers.events import Delivered, Event, Name
from app.providers.signing import SchemeSigned

LIST_ROWS = 100
# A reference stays used without a time limit; this is longer than any payment waits.
REFERENCE_SECONDS = 10 * 365 * 86_400
# Bank transfers and mobile money are confirmed within hours.
SETTLES_WITHIN_DAYS = 1

_MODES = {"sk_test_": "test", "sk_live_": "live"}

_DUPLICATE, _NOT_FOUND = "duplicate_reference", "transaction_not_found"


class PaystackAdapter(HttpAdapter, SchemeSigned):
    """Talks to Paystack over its HTTP API. Its webhooks are signed with the API key."""

    scheme: Scheme | None = Scheme(HMAC_SHA512_HEX, header="x-paystack-signature")
    secret_credential: ClassVar[str] = API_KEY
    base_urls: ClassVar[Mapping[str, str]] = dict.fromkeys(("test", "live"), "https://api.paystack.co")
    check_path: ClassVar[str | None] = "/balance"
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(
            API_KEY,
            "Secret Key on Paystack's page Settings, API Keys & Webhooks",
            pattern=re.compile(r"sk_(test|live)_[A-Za-z0-9_]+", re.ASCII),
            form="begins with sk_test_ or sk_live_",
        ),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=REFERENCE_SECONDS,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=False,
        can_refund=True,
        finds_refunds=True,
        listing="exact",
        reversals="ids",
        can_expire=False,
        replays_create=False,
        says_mode=True,
        required_fields=("customer.email",),
    )

    def read_mode(self, account: Account) -> str | None:
        """Return the mode that the key says."""
        return _MODES.get(account.credentials[API_KEY][:8])

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body, the same bytes for the same order. Raise AmountError and CurrencyError.

        Raise ValueError without the payer's e-mail address, which Paystack needs.
        """
        email = order.customer.get("email")
        if not email:
            raise ValueError("Paystack needs the payer's e-mail address (customer.email)")
        metadata = dict(order.metadata)
        if order.failure_url is not None:
            metadata["cancel_action"] = order.failure_url
        fields = {
            "reference": str(order.payment_id),
            "email": email,
            "amount": AMOUNTS.to_asked_units(order.amount_minor, order.currency),
            "currency": order.currency,
            "metadata": metadata,
        }
        if order.success_url is not None:
            fields["callback_url"] = order.success_url
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Initialize the transaction; where an earlier try has made one whose page is lost, the next one."""
        own = _encode_reference(str(payment_id))
        fact = Fact(FactKind.NOT_FOUND)
        for reference in name_references(payment_id):
            body = request.replace(own, _encode_reference(reference), 1)
            answer = self.send(account, "POST", "/transaction/initialize", body)
            if answer.status != 400:
                return _accepted(_read_data(answer), reference)
            code, message = _read_error(answer)
            if code != _DUPLICATE:
                return refuse(f"{message} ({code})", is_about_payment=False)
            made = self._verify(account, reference)
            if made is None:
                raise OutcomeUnknown("the provider has used the reference and does not know it")
            fact = self._state(account, made)
            if made.get("status") != ABANDONED:
                break
        # An attempt that was declined leaves it open, as all that has not been paid.
        return replace(fact, kind=FactKind.PENDING) if fact.kind is FactKind.ATTEMPT_DECLINED else fact

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, with what was given back: by reference, or by each that the payment may have."""
        found = Fact(FactKind.NOT_FOUND)
        for reference in name_references(subject.payment_id) if subject.reference is None else (subject.reference,):
            body = self._verify(account, reference)
            if body is None:
                break
            if read_payment_id(body.get("reference")) != subject.payment_id:
                raise UnexpectedAnswer("the provider's answer is about another payment", "reference")
            found = self._state(account, body)
            if found.kind is FactKind.SUCCEEDED:
                break
        return found

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the transactions of a period, newest first; one that cannot be read is looked up by itself as well.

        Of those that nobody paid, a payment's newest: the pages of the others were lost.
        """
        since = {"from": str(format_time(created_after))}
        given_back = self._read_given_back(account, since)
        query = since | {"to": str(format_time(created_before)), "use_cursor": "true"}
        seen: set[uuid.UUID] = set()
        for row in read_rows(self._list(account, "/transaction", query), lambda body: _listed(body, given_back)):
            if row.payment_id not in seen or row.fact.kind is FactKind.SUCCEEDED:
                yield row
            if row.payment_id is not None:
                seen.add(row.payment_id)

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Return the present state: Paystack has no call that ends a transaction."""
        return self.fetch(account, subject)

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body. Raise AmountError and CurrencyError."""
        return refunds.build_refund(subject)

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the transaction; a refusal of the refund itself is a fact."""
        answer = self.send(account, "POST", refunds.PATH, request)
        return (
            refuse_refund(answer, "message")
            if answer.status == 400
            else refunds.read_state(_read_data(answer), subject)
        )

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund by its number, or by our id among those of its transaction."""
        if subject.reference is not None:
            answer = self.send(account, "GET", refunds.path_of(subject.reference))
            return Fact(FactKind.NOT_FOUND) if answer.status == 404 else refunds.read_state(_read_data(answer), subject)
        body = self._verify(account, subject.payment_reference)
        if body is None:
            raise UnexpectedAnswer("the provider does not find the refund's payment", "transaction")
        query = {"transaction": str(body.get("id")), "from": str(body.get("created_at"))}
        rows = self._list(account, refunds.PATH, query)
        found = next((row for row in rows if row.get(refunds.OWN_ID) == str(subject.refund_id)), None)
        return Fact(FactKind.NOT_FOUND) if found is None else refunds.read_state(found, subject)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that an event's object names."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what an event says."""
        return translate(delivered.read_object())

    def _verify(self, account: Account, reference: str) -> dict[str, Any] | None:
        """Return the transaction of a reference, None where there is none."""
        answer = self.send(account, "GET", f"/transaction/verify/{urllib.parse.quote(reference, safe='')}")
        if answer.status == 404 or (answer.status == 400 and _read_error(answer)[0] == _NOT_FOUND):
            return None
        return _read_data(answer)

    def _state(self, account: Account, body: Mapping[str, Any]) -> Fact:
        """Return the state of a transaction, with what was given back."""
        fact = read_transaction(body)
        if fact.kind is not FactKind.SUCCEEDED:
            return fact
        query = {"transaction": str(body.get("id")), "from": str(body.get("created_at"))}
        return with_given_back(fact, self._read_given_back(account, query))

    def _read_given_back(self, account: Account, query: Mapping[str, str]) -> GivenBack:
        """Return refunds and disputes of the transactions that the query names."""
        return read_given_back(*(self._list(account, path, query) for path in ("/refund", "/dispute")))

    def _list(self, account: Account, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            encoded = urllib.parse.urlencode({"perPage": str(LIST_ROWS), **query})
            body = read_object(self.send(account, "GET", f"{path}?{encoded}" + (f"&{cursor}" if cursor else "")))
            rows, meta = read_list(body, "data"), body.get("meta")
            return rows, read_cursor(meta) if rows and isinstance(meta, dict) else None

        return walk_pages(read_page)


def _encode_reference(reference: str) -> bytes:
    return f'"reference":"{reference}"'.encode("ascii")


def read_cursor(meta: Mapping[str, Any]) -> str | None:
    """Return the query of a list's next page, which is named by a cursor or by its number; None on the last."""
    if meta.get("next"):
        return urllib.parse.urlencode({"next": str(meta["next"])})
    page, pages = meta.get("page"), meta.get("pageCount")
    return f"page={page + 1}" if isinstance(page, int) and isinstance(pages, int) and page < pages else None


def _read_data(answer: ProviderAnswer) -> dict[str, Any]:
    data = read_object(answer).get("data")
    if not isinstance(data, dict):
        raise UnexpectedAnswer("the provider's answer has no data", "data")
    return data


def _read_error(answer: ProviderAnswer) -> tuple[str, str]:
    """Return code and message of a refusal. Raise the failure of its status where it cannot be read."""
    body = read_error(answer)
    if "code" not in body or "message" not in body:
        raise read_failure(answer)
    return str(body["code"]), str(body["message"])


def _accepted(data: Mapping[str, Any], reference: str) -> Fact:
    if data.get("reference") != reference:
        raise UnexpectedAnswer("the provider's answer is about another payment", "reference")
    return Fact(FactKind.ACCEPTED, reference, read_redirect_url(data, "authorization_url"))


def _listed(body: Mapping[str, Any], given_back: GivenBack) -> Listed:
    fact = read_transaction(body)
    if fact.kind is FactKind.SUCCEEDED:
        fact = with_given_back(fact, given_back)
    asked = "amount" if body.get("requested_amount") is None else "requested_amount"
    payment_id, (asked_minor, currency) = read_payment_id(fact.reference), read_units(AMOUNTS, body, asked)
    return Listed(payment_id, str(fact.reference), asked_minor, currency, sum_movements(fact), fact)
