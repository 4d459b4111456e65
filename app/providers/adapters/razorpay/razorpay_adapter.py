"""The adapter of Razorpay: payment links, with which a payer is sent to Razorpay's own payment page.

The link's `reference_id` is our payment id. Razorpay has no idempotency keys for links: it refuses a second link with
the same `reference_id`, and finds the first one by it. Notes have our id as well: Razorpay copies them to the payment.
A dispute takes money once it is lost.

No test here could check against Razorpay itself: the filters and pages of its lists of links and disputes (rows outside
the period are left out, and a page that repeats an earlier one is an error), the shortest life of a link, and which
refusals are about the amount (`field` says so).
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from app.core.errors import OutcomeUnknown
from app.core.facts import DisputeReport, Fact, FactKind, Movement
from app.core.signatures import HMAC_HEX, Scheme
from app.providers.adapter import Account, Listed, Order, RefundSubject, Subject
from app.providers.adapters.razorpay import razorpay_refunds as refunds
from app.providers.adapters.razorpay.razorpay_events import (
    AMOUNTS,
    NOTE,
    list_payments_of,
    name_payment,
    read_deduction,
    read_link,
    read_refund,
    read_reports,
    translate,
)
from app.providers.calls.answer_fields import check_own_id, read_kept_id, read_own_id, read_units
from app.providers.calls.given_back import sum_movements
from app.providers.calls.http_adapter import (
    HttpAdapter,
    accept,
    read_error,
    read_list,
    read_object,
    read_rows,
    refuse,
    walk_pages,
)
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.calls.refund_answers import refuse_refund
from app.providers.capabilities import Capabilities
from app.providers.credentials import Credential
from app.providers.events import Delivered, Event, Name
from app.providers.page_life import clamp_end
from app.providers.signing import SchemeSigned

KEY_ID, KEY_SECRET = "key_id", "key_secret"
LINKS = "/v1/payment_links"
# The link's field with our payment id.
OWN_ID = "reference_id"
LIST_ROWS = 100
# A reference_id stays used without a time limit; this is longer than any payment waits.
REFERENCE_SECONDS = 10 * 365 * 86_400
# Captured automatically within days of its authorization.
SETTLES_WITHIN_DAYS = 5

# A link ends 15 minutes to six months from its creation. A request takes a moment to arrive.
LIFE_SECONDS_MIN = 15 * 60
LIFE_SECONDS_MAX = 180 * 86_400
# One of the fifteen notes has our id.
NOTES_MAX = 15
NOTE_LENGTH_MAX = 255

_MODES = {"rzp_test_": "test", "rzp_live_": "live"}


class RazorpayAdapter(HttpAdapter, SchemeSigned):
    """Talks to Razorpay over its HTTP API."""

    scheme: Scheme | None = Scheme(HMAC_HEX, header="x-razorpay-signature")
    base_urls: ClassVar[Mapping[str, str]] = dict.fromkeys(("test", "live"), "https://api.razorpay.com")
    check_path: ClassVar[str | None] = "/v1/payments?count=1"
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(
            KEY_ID,
            "Key Id on Razorpay's page Account & Settings, API Keys",
            is_secret=False,
            pattern=re.compile(r"rzp_(test|live)_[A-Za-z0-9]+", re.ASCII),
            form="begins with rzp_test_ or rzp_live_",
        ),
        Credential(KEY_SECRET, "Key Secret, shown once when the key is generated there"),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=REFERENCE_SECONDS,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=True,
        can_refund=True,
        finds_refunds=True,
        listing="scan",
        reversals="ids",
        # A payment that ends sooner has its link cancelled by us.
        longest_life_seconds=LIFE_SECONDS_MAX,
        metadata_pairs_max=NOTES_MAX - 1,
        metadata_value_length_max=NOTE_LENGTH_MAX,
    )

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the header with the account's key id and key secret."""
        key = f"{account.credentials[KEY_ID]}:{account.credentials[KEY_SECRET]}"
        return {"Authorization": "Basic " + base64.b64encode(key.encode()).decode("ascii")}

    def read_mode(self, account: Account) -> str | None:
        """Return the mode that the key says."""
        return _MODES.get(account.credentials[KEY_ID][:9])

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body, the same bytes for the same order. Raise AmountError and CurrencyError."""
        payer = {"name": "name", "email": "email", "phone": "contact"}
        fields: dict[str, Any] = {
            OWN_ID: str(order.payment_id),
            "amount": AMOUNTS.to_asked_units(order.amount_minor, order.currency),
            "currency": order.currency,
            "accept_partial": False,
            "expire_by": clamp_end(order, LIFE_SECONDS_MIN, LIFE_SECONDS_MAX),
            "description": order.description or "Deposit",
            "notes": {**order.metadata, NOTE: str(order.payment_id)},
            "notify": {"sms": False, "email": False},
            "reminder_enable": False,
            "customer": {there: order.customer[here] for here, there in payer.items() if here in order.customer},
        }
        if order.success_url is not None:
            fields |= {"callback_url": order.success_url, "callback_method": "get"}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the link, or return the one of an earlier try; a refusal of the payment itself is a DECLINED fact."""
        answer = self.send(account, "POST", LINKS, request)
        # Its refusals have one code: whether the reference was used is seen by its link.
        body = self._find(account, payment_id) if answer.status == 400 else read_object(answer)
        if body is None:
            return _refusal(answer)
        check_own_id(body.get(OWN_ID), payment_id, OWN_ID)
        fact = read_link(body)
        if fact.kind is not FactKind.PENDING:
            return fact
        return accept(fact, "short_url")

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, with what was given back: by reference, or by our id."""
        if subject.reference is None:
            body = self._find(account, subject.payment_id)
        else:
            answer = self.send(account, "GET", f"{LINKS}/{urllib.parse.quote(subject.reference, safe='')}")
            # What does not exist is a bad request.
            body = None if answer.status in (400, 404) else read_object(answer)
        if body is None:
            return Fact(FactKind.NOT_FOUND)
        check_own_id(body.get(OWN_ID), subject.payment_id, OWN_ID)
        fact = read_link(body)
        if fact.kind is not FactKind.SUCCEEDED:
            return fact
        return self._with_money_back(account, body, fact, self._read_disputes(account, body.get("created_at")))

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the links of a period, newest first; one that cannot be read is looked up by itself as well."""
        after, before = math.floor(created_after.timestamp()), math.ceil(created_before.timestamp())
        disputes = self._read_disputes(account, after)
        rows = self._list(account, LINKS, "payment_links", {"from": str(after), "to": str(before)})
        found = (row for row in rows if after <= _read_time(row) < before)
        yield from read_rows(found, lambda body: self._listed(account, body, disputes))

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Cancel the link; return the payment's state, also where it is not open any more."""
        reference = urllib.parse.quote(subject.reference or "", safe="")
        answer = self.send(account, "POST", f"{LINKS}/{reference}/cancel", b"{}")
        if answer.status == 400:
            return self.fetch(account, subject)
        body = read_object(answer)
        check_own_id(body.get(OWN_ID), subject.payment_id, OWN_ID)
        return read_link(body)

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body. Raise AmountError and CurrencyError."""
        return refunds.build_refund(subject)

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the link's payment; a refusal of the refund itself is a fact."""
        path = refunds.path_of(self._read_link(account, subject))
        answer = self.send(account, "POST", f"{path}/refund", request)
        if answer.status == 400:
            return refuse_refund(answer, "error", "description")
        return refunds.read_state(read_object(answer), subject)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund by its id, or by ours among those of its payment."""
        if subject.reference is not None:
            shown = read_object(self.send(account, "GET", f"{refunds.PATH}/{_quote(subject.reference)}"))
            return refunds.read_state(shown, subject)
        path = refunds.path_of(self._read_link(account, subject))
        rows = self._list(account, f"{path}/refunds", "items", {})
        found = next((row for row in rows if row.get(refunds.OWN_ID) == str(subject.refund_id)), None)
        return Fact(FactKind.NOT_FOUND) if found is None else refunds.read_state(found, subject)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that an event's objects name."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what an event says."""
        return translate(delivered.read_object())

    def _read_link(self, account: Account, subject: RefundSubject) -> dict[str, Any]:
        body = read_object(self.send(account, "GET", f"{LINKS}/{_quote(subject.payment_reference)}"))
        check_own_id(body.get(OWN_ID), subject.payment_id, OWN_ID)
        return body

    def _find(self, account: Account, payment_id: uuid.UUID) -> dict[str, Any] | None:
        """Return the link with our id."""
        own = str(payment_id)
        body = read_object(self.send(account, "GET", f"{LINKS}?reference_id={own}"))
        return next((row for row in read_list(body, "payment_links") if row.get(OWN_ID) == own), None)

    def _with_money_back(
        self, account: Account, body: Mapping[str, Any], fact: Fact, disputes: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> Fact:
        """Return a paid link's fact with what was given back. Raise UnexpectedAnswer where it cannot be read."""
        movements, reports = list[Movement](), list[DisputeReport]()
        for payment in list_payments_of(body):
            path = f"/v1/payments/{urllib.parse.quote(payment, safe='')}/refunds"
            for row in self._list(account, path, "items", {}):
                if row.get("status") in ("processed", "failed"):
                    movements += read_refund(row, is_undone=row["status"] == "failed")
            for dispute in disputes.get(payment, ()):
                movements += read_deduction(dispute)
                reports += read_reports(dispute)
        return replace(fact, movements=tuple(movements), disputes=tuple(reports))

    def _listed(
        self, account: Account, body: Mapping[str, Any], disputes: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> Listed:
        payment_id, fact = read_own_id(body.get(OWN_ID)), read_link(body)
        # Of a link that is not ours, refunds do not matter.
        if payment_id is not None and fact.kind is FactKind.SUCCEEDED:
            fact = self._with_money_back(account, body, fact, disputes)
        asked, currency = read_units(AMOUNTS, body, "amount")
        return Listed(payment_id, read_kept_id(body), asked, currency, sum_movements(fact), fact)

    def _read_disputes(self, account: Account, since: object) -> dict[str, list[Mapping[str, Any]]]:
        """Return the disputes since a time (s), by the id of their payment."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in self._list(account, "/v1/disputes", "items", {"from": str(since)}):
            found.setdefault(str(row.get("payment_id")), []).append(row)
        return found

    def _list(self, account: Account, path: str, name: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, each once: one that comes to the front meanwhile moves others to the next page."""
        seen: set[object] = set()

        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            skip = int(cursor or "0")
            asked = urllib.parse.urlencode({"count": str(LIST_ROWS), "skip": str(skip), **query})
            rows = read_list(read_object(self.send(account, "GET", f"{path}?{asked}")), name)
            fresh = [row for row in rows if row.get("id") not in seen]
            if rows and not fresh:
                raise OutcomeUnknown("the provider's list repeats a page")
            seen.update(row.get("id") for row in fresh)
            return fresh, str(skip + len(rows)) if len(rows) == LIST_ROWS else None

        return walk_pages(read_page)


def _quote(reference: str) -> str:
    return urllib.parse.quote(reference, safe="")


def _read_time(row: Mapping[str, Any]) -> int:
    created_at = row.get("created_at")
    return created_at if isinstance(created_at, int) else 0


def _refusal(answer: ProviderAnswer) -> Fact:
    """Return the fact of a refused create call, where it is about the amount.

    Raise ProviderRefusedUs where our request or the account is wrong, which is not the payer's.
    """
    error = read_error(answer, "error")
    field = error.get("field")
    return refuse(f"{error.get('description')} ({field})", is_about_payment=field == "amount")
