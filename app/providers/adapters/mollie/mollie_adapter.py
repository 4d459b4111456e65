"""The adapter of Mollie: payments of its API v2, with which a payer is sent to Mollie's own payment page.

Our payment id is in the payment's metadata. Webhooks come in two forms. A classic one, sent to the URL that the payment
was created with, is unsigned and only names the payment: it is a poke. Signed events come to the URL that is registered
at Mollie, with our `webhook_secret`, and are facts. Either is enough, and both may be used.

Mollie ends most open payments by itself when the payer's time is up, and lets only some be cancelled by us.

No test here could check against Mollie itself: which currencies an account takes, how long an idempotency key lives,
which fields its refusals name, whether several signatures come in one header, and how long slow methods take.
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

from app.core import signatures
from app.core.errors import OutcomeUnknown, UnexpectedAnswer, WebhookRejected
from app.core.facts import Fact, FactKind
from app.core.money import format_amount
from app.core.signatures import HMAC_HEX, SIGNATURE_ENTRIES_MAX, Key, Scheme
from app.core.strict_json import JsonError, loads
from app.providers.adapter import Account, Listed, Order, Subject
from app.providers.adapters.mollie import mollie_registration
from app.providers.adapters.mollie.mollie_events import (
    AMOUNTS,
    SETTLES_WITHIN_DAYS,
    find_own_id,
    has_moved,
    name_payment,
    read_amount,
    read_classic,
    read_disputes,
    read_movements,
    read_payment,
    translate,
)
from app.providers.adapters.mollie.mollie_refunds import MollieRefunds
from app.providers.calls.answer_fields import check_own_id, read_kept_id
from app.providers.calls.given_back import sum_movements
from app.providers.calls.http_adapter import accept, read_object, read_rows, refuse, walk_pages
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.capabilities import Capabilities
from app.providers.connectable import Registration
from app.providers.credentials import API_KEY, Credential
from app.providers.events import Delivered, Event, Name
from app.providers.signing import Received, SchemeSigned

PAYMENTS = "/v2/payments"
# What of a payment's money went back.
MOVED = ("refunds", "chargebacks")
EMBED = f"embed={','.join(MOVED)}"
HEADER = "x-mollie-signature"
FORM = "application/x-www-form-urlencoded"
LIST_ROWS = 250
# Mollie keeps metadata of about a kilobyte.
METADATA_BYTES_MAX = 1_000
# The specification asks for a key on each POST and names no life. Past this the payment is looked up before it is
# created again.
KEY_SECONDS = 3_600
# How far Mollie's clock may be from ours.
_CLOCK = datetime.timedelta(minutes=5)
_MODES = {"test_": "test", "live_": "live"}


class MollieAdapter(MollieRefunds, SchemeSigned):
    """Talks to Mollie over its HTTP API v2."""

    scheme: Scheme | None = Scheme(HMAC_HEX, HEADER, "id")
    poke_types = frozenset({FORM})
    base_urls: ClassVar[Mapping[str, str]] = dict.fromkeys(("test", "live"), "https://api.mollie.com")
    check_path: ClassVar[str | None] = "/v2/methods"
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(
            API_KEY,
            "API key on the page Developers, API keys of Mollie's dashboard",
            pattern=re.compile(r"(test|live)_[A-Za-z0-9]+", re.ASCII),
            form="begins with test_ or live_",
        ),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=KEY_SECONDS,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=False,
        can_refund=True,
        finds_refunds=True,
        refund_key_seconds=KEY_SECONDS,
        listing="scan",
        reversals="ids",
        says_lost=False,
        says_mode=True,
        required_fields=("success_url",),
    )

    def read_mode(self, account: Account) -> str | None:
        """Return the mode that the key says."""
        return _MODES.get(account.credentials[API_KEY][:5])

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body, the same bytes for the same order. Raise AmountError and CurrencyError.

        Raise ValueError without a URL for the payer's return, which a deposit is asked for.
        """
        if order.success_url is None:
            raise ValueError("Mollie needs a success_url")
        AMOUNTS.to_asked_units(order.amount_minor, order.currency)
        fields: dict[str, Any] = {
            "amount": {"currency": order.currency, "value": format_amount(order.amount_minor, order.currency)},
            "description": f"Deposit {order.payment_id}",
            "redirectUrl": order.success_url,
            "metadata": _fit_metadata(order),
        }
        if order.failure_url is not None:
            fields["cancelUrl"] = order.failure_url
        if "poke" in order.callback_urls:
            fields["webhookUrl"] = order.callback_urls["poke"]
        return _encode(fields)

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the payment; a refusal of its amount is a DECLINED fact, any other is ours."""
        answer = self.send(account, "POST", PAYMENTS, request, {"Idempotency-Key": str(payment_id)})
        if answer.status in (400, 422):
            return _refusal(answer)
        body = read_object(answer, (200, 201))
        _check(body, payment_id)
        fact = self._state(account, body)
        if body.get("status") != "open":
            # An earlier try of the same key, and what came of it.
            return fact
        return accept(fact, "checkout")

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the present state, with what was given back: by reference, or by our id among all since its time."""
        if subject.reference is None:
            body = self._find(account, subject.payment_id)
        else:
            answer = self.send(account, "GET", f"{_path_of(subject.reference)}?{EMBED}")
            body = None if answer.status == 404 else read_object(answer)
        if body is None:
            return Fact(FactKind.NOT_FOUND)
        _check(body, subject.payment_id)
        return self._state(account, body)

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the payments of a period, newest first; one that cannot be read is looked up by itself as well."""
        rows = (row for row in self._scan(account, created_after) if _created(row) < created_before)
        yield from read_rows(rows, lambda body: self._listed(account, body))

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Cancel the payment where Mollie lets us; return its state, also where it does not or it is not open."""
        answer = self.send(account, "DELETE", _path_of(subject.reference or ""))
        if answer.status in (409, 422):
            return self.fetch(account, subject)
        body = read_object(answer)
        _check(body, subject.payment_id)
        return self._state(account, body)

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        """Return the event's id once a signature of the header fits; while a secret is replaced there are several."""
        entries = received.headers.get(HEADER, "").split(",")
        if len(entries) > SIGNATURE_ENTRIES_MAX:
            raise signatures.rejected("signature")
        rejection = signatures.rejected("signature")
        for entry in entries:
            try:
                single = replace(received, headers={HEADER: entry.strip(" ")})
                return super().verify(configured, keys, single, now_seconds)
            except WebhookRejected as error:
                rejection = error
        raise rejection

    def read_poke(self, body: bytes) -> Name | None:
        """Return the payment that a classic webhook names."""
        return read_classic(body)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that an event is about."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what a signed event says."""
        return translate(delivered.read_object())

    def register_webhooks(self, account: Account, webhook_url: str, known_id: str | None) -> Registration:
        """Subscribe to signed events, unless the known subscription is there."""
        return mollie_registration.register(self.send, account, webhook_url, known_id)

    def _find(self, account: Account, payment_id: uuid.UUID) -> dict[str, Any] | None:
        """Return the payment with our id: Mollie does not search by it, and our ids say when they were made."""
        if payment_id.version != 7:
            raise OutcomeUnknown("the payment's id does not say when it was made")
        made = datetime.datetime.fromtimestamp((payment_id.int >> 80) / 1000, datetime.UTC)
        return next((row for row in self._scan(account, made - _CLOCK) if find_own_id(row) == payment_id), None)

    def _scan(self, account: Account, created_after: datetime.datetime) -> Iterator[dict[str, Any]]:
        """Yield payments from the newest on until one is older; the list knows no times, and is in their order."""

        def read_page(cursor: str | None) -> tuple[list[Any], object]:
            asked = {"limit": str(LIST_ROWS)} | ({} if cursor is None else {"from": cursor})
            body = read_object(self.send(account, "GET", f"{PAYMENTS}?{urllib.parse.urlencode(asked)}"))
            try:
                rows, following = body["_embedded"]["payments"], body["_links"]["next"]
                # Only the id is taken from it: a URL that comes from outside is not called.
                cursor = following and urllib.parse.parse_qs(urllib.parse.urlsplit(following["href"]).query)["from"][0]
            except (KeyError, TypeError, ValueError, IndexError):
                raise OutcomeUnknown("the provider's list cannot be read") from None
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise OutcomeUnknown("the provider's list cannot be read")
            return rows, cursor

        # Mollie's times are whole seconds.
        oldest = created_after.replace(microsecond=0)
        for row in walk_pages(read_page):
            if _created(row) < oldest:
                return
            yield row

    def _state(self, account: Account, body: Mapping[str, Any]) -> Fact:
        """Return the state of a payment, with what went back and came again. Raise UnexpectedAnswer."""
        fact = read_payment(body)
        if fact.kind is not FactKind.SUCCEEDED:
            return fact
        shown = body.get("_embedded")
        if not isinstance(shown, dict):
            shown = {}
        if has_moved(body):
            # Only a lookup has them in its answer; lists and answers to other calls have no more than sums.
            missing = [name for name in MOVED if name not in shown]
            shown = shown | {name: self._read_rows(account, str(fact.reference), name) for name in missing}
        moved = {"_embedded": shown}
        return replace(fact, movements=read_movements(moved), disputes=read_disputes(moved))

    def _read_rows(self, account: Account, reference: str, name: str) -> object:
        """Return the refunds or chargebacks of a payment; of one they fit into a page."""
        body = read_object(self.send(account, "GET", f"{_path_of(reference)}/{name}?limit={LIST_ROWS}"))
        shown = body.get("_embedded")
        return shown.get(name) if isinstance(shown, dict) else None

    def _listed(self, account: Account, body: Mapping[str, Any]) -> Listed:
        payment_id = find_own_id(body)
        # Of a payment that is not ours, refunds do not matter.
        fact = self._state(account, body) if payment_id else read_payment(body)
        asked, currency = read_amount(body, "amount")
        return Listed(payment_id, read_kept_id(body), asked, currency, sum_movements(fact), fact)


def _path_of(reference: str) -> str:
    return f"{PAYMENTS}/{urllib.parse.quote(reference, safe='')}"


def _encode(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def _fit_metadata(order: Order) -> dict[str, str]:
    """Return our id and as many of the caller's pairs, in their order, as Mollie keeps."""
    fitting = {"payment_id": str(order.payment_id)}
    for key, value in order.metadata.items():
        more = {key: value} | fitting
        if len(_encode(more)) > METADATA_BYTES_MAX:
            break
        fitting = more
    return fitting


def _check(body: Mapping[str, Any], payment_id: uuid.UUID) -> None:
    own = find_own_id(body)
    check_own_id(None if own is None else str(own), payment_id, "metadata")


def _created(row: Mapping[str, Any]) -> datetime.datetime:
    try:
        created = datetime.datetime.fromisoformat(str(row.get("createdAt")))
    except ValueError:
        raise UnexpectedAnswer("the provider's payment has an unreadable time", "createdAt") from None
    return created if created.tzinfo else created.replace(tzinfo=datetime.UTC)


def _refusal(answer: ProviderAnswer) -> Fact:
    """Return the fact of a refused create call. Raise ProviderRefusedUs unless the amount is what is refused."""
    try:
        body = loads(answer.body)
        detail, field = body.get("detail"), body.get("field")
    except (JsonError, AttributeError):
        detail, field = f"status {answer.status}", None
    is_about_payment = answer.status == 422 and str(field).partition(".")[0] == "amount"
    return refuse(f"{detail} ({field or answer.status})", is_about_payment=is_about_payment)
