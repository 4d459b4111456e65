"""The adapter of Adyen: payment links, with which a payer is sent to Adyen's own payment page.

The link's `reference` is our payment id, which every notification about the payment carries. Money comes by signed
notifications alone: a link says that its payer is done, not how much came or whether it came at all, so a completed
link is waited for like a slow method. Adyen has no list of links and none can be found by our id. The merchant account
is added to the request when it is sent; payments are captured automatically, as the account has to be configured. A
refund names the payment by Adyen's reference of it, which the notification of its success had, and is reported on by
notifications too.

No test here could check against Adyen itself: which currencies it takes, how it words refusals and how it answers an
idempotency key that comes with another body, whether all events of a dispute have one reference, which events a lost
dispute ends with, and whether a notification of a refund has the refund's reference or the payment's.
"""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from app.core.errors import OutcomeUnknown, ProviderUnusable
from app.core.facts import Fact, FactKind
from app.core.signatures import Key, Scheme
from app.providers.adapter import Account, Listed, Order, Subject
from app.providers.adapters.adyen import adyen_registration, item_signatures
from app.providers.adapters.adyen.adyen_events import AMOUNTS, SETTLES_WITHIN_DAYS, name_payment, translate
from app.providers.adapters.adyen.adyen_refunds import (
    ABOUT_AMOUNT,
    MERCHANT_ACCOUNT,
    REFUSES,
    AdyenRefunds,
    read_refusal,
    with_merchant,
)
from app.providers.calls.answer_fields import check_own_id, read_kept_id, read_kind, read_redirect_url
from app.providers.calls.http_adapter import read_object, refuse
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.capabilities import Capabilities
from app.providers.connectable import Registration
from app.providers.credentials import API_KEY, Credential
from app.providers.events import Delivered, Event, Name
from app.providers.signing import Received, SchemeSigned

LINKS = "/v71/paymentLinks"
# Adyen promises seven days at least.
KEY_SECONDS = 7 * 86_400
LIFE_SECONDS_MAX = 70 * 86_400
# A request takes a moment to arrive, and our own end closes the link.
SLACK = datetime.timedelta(minutes=2)
# Adyen's limits of metadata, and of the text on its page.
PAIRS_MAX, KEY_LENGTH_MAX, VALUE_LENGTH_MAX, DESCRIPTION_LENGTH_MAX = 20, 20, 80, 280

# Of the customer's fields, what Adyen calls them.
_PAYER = {"email": "shopperEmail", "country": "countryCode", "locale": "shopperLocale", "phone": "telephoneNumber"}
_KINDS = {
    "active": FactKind.PENDING,
    "expired": FactKind.CANCELLED,
    **dict.fromkeys(("completed", "paid", "paymentPending"), FactKind.COMMITTED),
}
_TEST_HOST, _LIVE_HOST = "checkout-test.adyen.com", "-checkout-live.adyenpayments.com"


class AdyenAdapter(AdyenRefunds, SchemeSigned):
    """Talks to Adyen over its Checkout API. Each item of a notification is signed by itself."""

    # A live account has a host of its own.
    base_urls: ClassVar[Mapping[str, str]] = {"test": f"https://{_TEST_HOST}"}
    # Basic authentication, which an operator may configure at Adyen, is a credential and stored as none.
    credential_headers: tuple[str, ...] = ("authorization",)
    credentials: ClassVar[tuple[Credential, ...]] = (
        Credential(API_KEY, "API key of a web service user, in the Customer Area under Developers, API credentials"),
        Credential(
            MERCHANT_ACCOUNT,
            "Code of the merchant account, in the Customer Area under Settings, Merchant accounts",
            is_secret=False,
            pattern=re.compile(r"[A-Za-z0-9_.-]{1,80}", re.ASCII),
            form="has letters, digits, underscores, dots and dashes, 80 at most",
        ),
    )
    capabilities = Capabilities(
        amounts=AMOUNTS,
        idempotency_key_seconds=KEY_SECONDS,
        settles_within_days=SETTLES_WITHIN_DAYS,
        can_cancel=True,
        can_refund=True,
        refund_key_seconds=KEY_SECONDS,
        reads_refunds=False,
        listing="none",
        reversals="ids",
        can_find=False,
        joins_events=True,
        says_mode=True,
        reads_money=False,
        longest_life_seconds=LIFE_SECONDS_MAX,
        metadata_pairs_max=PAIRS_MAX,
        metadata_key_length_max=KEY_LENGTH_MAX,
        metadata_value_length_max=VALUE_LENGTH_MAX,
    )

    def authorize(self, account: Account) -> Mapping[str, str]:
        """Return the header with the account's key."""
        return {"X-API-Key": account.credentials[API_KEY]}

    def read_mode(self, account: Account) -> str | None:
        """Return the mode that the host says; keys do not say it."""
        host = urllib.parse.urlsplit(account.api_base_url).hostname or ""
        return "test" if host == _TEST_HOST else "live" if host.endswith(_LIVE_HOST) else None

    def build_request(self, order: Order) -> bytes:
        """Return the create call's body without the merchant account. Raise AmountError and CurrencyError."""
        units = AMOUNTS.to_asked_units(order.amount_minor, order.currency)
        longest = order.created_at + datetime.timedelta(seconds=LIFE_SECONDS_MAX)
        expires_at = min(order.expires_at + SLACK, longest - SLACK)
        fields: dict[str, Any] = {
            "amount": {"currency": order.currency, "value": units},
            "reference": str(order.payment_id),
            "expiresAt": expires_at.astimezone(datetime.UTC).isoformat(timespec="seconds"),
            "metadata": dict([pair for pair in order.metadata.items() if _fits(*pair)][:PAIRS_MAX]),
        }
        if order.success_url is not None:
            fields["returnUrl"] = order.success_url
        if order.description is not None:
            fields["description"] = order.description[:DESCRIPTION_LENGTH_MAX]
        fields |= {_PAYER[name]: value for name, value in order.customer.items() if name in _PAYER}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the link; a refusal of the payment itself is a DECLINED fact."""
        keyed = {"Idempotency-Key": str(payment_id)}
        answer = self.send(account, "POST", LINKS, with_merchant(account, request), keyed)
        if answer.status in REFUSES:
            code, message = read_refusal(answer)
            return refuse(f"{message} ({code})", is_about_payment=code in ABOUT_AMOUNT)
        link = read_object(answer, (200, 201))
        fact = _read_link(link, payment_id)
        if fact.kind is not FactKind.PENDING:
            return fact
        return Fact(FactKind.ACCEPTED, fact.reference, read_redirect_url({"redirect_url": link.get("url")}))

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the link's present state. Raise OutcomeUnknown without a reference: Adyen knows no other name."""
        if subject.reference is None:
            raise OutcomeUnknown("Adyen cannot be asked for a link by our id")
        answer = self.send(account, "GET", _path(subject))
        if answer.status == 404:
            return Fact(FactKind.NOT_FOUND)
        return _read_link(read_object(answer), subject.payment_id)

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Raise ProviderUnusable: Adyen has no list of payments, only reports for people."""
        raise ProviderUnusable("Adyen has no list of payments to compare with")

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Expire the link; return its state, also where it is not open any more."""
        answer = self.send(account, "PATCH", _path(subject), b'{"status":"expired"}')
        if answer.status in REFUSES:
            return self.fetch(account, subject)
        return _read_link(read_object(answer), subject.payment_id)

    def check_account(self, account: Account) -> ProviderAnswer:
        """Ask for the methods of payment of the merchant account."""
        merchant = {"merchantAccount": account.credentials[MERCHANT_ACCOUNT]}
        return self.send(account, "POST", "/v71/paymentMethods", json.dumps(merchant).encode("ascii"))

    def register_webhooks(self, account: Account, webhook_url: str, known_id: str | None) -> Registration:
        """Set up a standard webhook with an HMAC key, unless the known one is there."""
        managed = adyen_registration.find_management(account, self.read_mode(account))
        merchant = account.credentials[MERCHANT_ACCOUNT]
        return adyen_registration.register(self.send, managed, merchant, webhook_url, known_id)

    def signature_headers(self, configured: Scheme) -> tuple[str, ...]:
        """Return none: signatures are in the body."""
        return ()

    def read_key(self, configured: Scheme, secret: str) -> Key:
        """Return the key of a stored secret, which is hexadecimal. Raise ValueError."""
        return item_signatures.read_key(secret)

    def check_secret(self, configured: Scheme, secret: str) -> None:
        """Raise ValueError unless `secret` is an HMAC key of Adyen."""
        item_signatures.read_key(secret)

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        """Return an id of what is signed, once every item's signature holds. Raise WebhookRejected."""
        return item_signatures.verify(keys, received.parsed)

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that the first item names."""
        return name_payment(body)

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what the items say."""
        return translate(delivered.read_object())


def _path(subject: Subject) -> str:
    return f"{LINKS}/{urllib.parse.quote(subject.reference or '', safe='')}"


def _fits(key: str, value: str) -> bool:
    return len(key) <= KEY_LENGTH_MAX and len(value) <= VALUE_LENGTH_MAX and key != "checkout.linkId"


def _read_link(body: Mapping[str, Any], payment_id: uuid.UUID) -> Fact:
    """Return the state of a link. Raise UnexpectedAnswer where it cannot be read."""
    check_own_id(body.get("reference"), payment_id, "reference")
    kind, reference = read_kind(body, _KINDS, "link"), read_kept_id(body)
    days = SETTLES_WITHIN_DAYS if kind is FactKind.COMMITTED else None
    return Fact(kind, reference, settles_within_days=days, is_expiry=kind is FactKind.CANCELLED)
