"""Adapters with one fault each, and the case of the kit that finds it."""

from __future__ import annotations

import datetime
import json
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import structlog

from app.core.errors import OutcomeUnknown, ProviderCallFailed, ProviderRefusedUs, Unusable
from app.core.facts import Fact, FactKind
from app.core.signatures import Key, Scheme
from app.providers import (
    Account,
    Delivered,
    Event,
    Ignored,
    Listed,
    Name,
    Order,
    Received,
    RefundSubject,
    Subject,
    Told,
)
from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.adapters.stripe import StripeAdapter

log = structlog.get_logger(__name__)


class NewKeyEachTime(SandboxAdapter):
    """Sends another idempotency key on every try."""

    def send(self, *args: Any, **kwargs: Any) -> Any:
        given = list(args)
        if len(given) > 4 and given[4]:
            given[4] = {"Idempotency-Key": str(uuid.uuid4())}
        return super().send(*given, **kwargs)


class ClockInTheRequest(SandboxAdapter):
    """Builds other bytes each time."""

    def build_request(self, order: Order) -> bytes:
        body = json.loads(super().build_request(order))
        body["metadata"] = {"built": datetime.datetime.now(datetime.UTC).isoformat()}
        return json.dumps(body).encode()


class DeclinesOnErrors(SandboxAdapter):
    """Takes a server's error for a declined payment."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        try:
            return super().create(account, payment_id, request)
        except OutcomeUnknown:
            return Fact(FactKind.DECLINED)


class DeclinesOnRefusal(SandboxAdapter):
    """Fails the payer's payment for a credential or a field of ours."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        try:
            return super().create(account, payment_id, request)
        except ProviderRefusedUs:
            return Fact(FactKind.DECLINED)


class FollowsRedirects(SandboxAdapter):
    """Follows where a provider leads, with our credentials."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        try:
            return super().create(account, payment_id, request)
        except OutcomeUnknown:
            host = account.api_base_url.partition("//")[2].partition("/")[0]
            urllib.request.urlopen(f"http://{host}/elsewhere", timeout=5)
            raise


class AnyPage(StripeAdapter):
    """Sends the payer wherever the provider says."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        body = json.loads(self.send(account, "POST", "/v1/checkout/sessions", request).body)
        return Fact(FactKind.ACCEPTED, body["id"], body["url"])


class PageOfALookup(StripeAdapter):
    """Sends the payer wherever a lookup says."""

    def fetch(self, account: Account, subject: Subject) -> Fact:
        body = json.loads(self.send(account, "GET", f"/v1/checkout/sessions/{subject.reference}").body)
        return Fact(FactKind.PENDING, body["id"], body["url"])


class TakesErrorsForNothing(SandboxAdapter):
    """Takes a failed lookup for an unknown payment."""

    def fetch(self, account: Account, subject: Subject) -> Fact:
        try:
            return super().fetch(account, subject)
        except ProviderCallFailed:
            return Fact(FactKind.NOT_FOUND)


class NeverAsksWhoseItIs(StripeAdapter):
    """Takes any payment for the one that was asked about."""

    def fetch(self, account: Account, subject: Subject) -> Fact:
        for row in self.list_payments(account, *_ever()):
            if row.reference == subject.reference:
                return row.fact
        return super().fetch(account, subject)


class Hundredths(StripeAdapter):
    """Counts every currency in hundredths."""

    def build_request(self, order: Order) -> bytes:
        built = super().build_request(order)
        units = self.capabilities.amounts.to_units(order.amount_minor, order.currency)
        return built.replace(f"unit_amount%5D={units}".encode(), f"unit_amount%5D={order.amount_minor}".encode())


class FirstPageOnly(SandboxAdapter):
    """Lists one page."""

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        for number, row in enumerate(super().list_payments(account, created_after, created_before)):
            if number == 200:
                return
            yield row


class EmptyOnErrors(SandboxAdapter):
    """Lists nothing where the list fails."""

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        try:
            yield from super().list_payments(account, created_after, created_before)
        except OutcomeUnknown:
            return


class CancelledAnyway(SandboxAdapter):
    """Says cancelled of a payment that was paid meanwhile."""

    def cancel(self, account: Account, subject: Subject) -> Fact:
        return replace(super().cancel(account, subject), kind=FactKind.CANCELLED)


class BelievesAnybody(StripeAdapter):
    """Believes webhooks whatever their signature."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        return str(received.parsed["id"]) if isinstance(received.parsed, dict) else "none"


class FirstKeyOnly(StripeAdapter):
    """Knows no overlap of secrets."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        return super().verify(configured, keys[:1], received, now_seconds)


class NewIdEachTime(StripeAdapter):
    """Names every delivery anew."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        super().verify(configured, keys, received, now_seconds)
        return str(uuid.uuid4())


class UnknownIsUnusable(StripeAdapter):
    """Cannot read an event that it does not know."""

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        events = super().translate(delivered)
        if any(isinstance(event, Ignored) for event in events):
            raise Unusable("an event of another kind")
        return events


class EverythingIsLive(StripeAdapter):
    """Takes test events for live ones."""

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        return [replace(one, is_live=True) if isinstance(one, Told) else one for one in super().translate(delivered)]


class AttemptsEndIt(StripeAdapter):
    """Takes a declined attempt for the end of the payment."""

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        return [_ended(event) for event in super().translate(delivered)]


class NoNameInTheBody(StripeAdapter):
    """Raises where a body names no payment."""

    def name_payment(self, path: str, body: Any) -> Name | None:
        name: Name = uuid.UUID(body["data"]["object"]["client_reference_id"])
        return name


class TalksAboutKeys(SandboxAdapter):
    """Writes the credentials of failing calls to the log."""

    def fetch(self, account: Account, subject: Subject) -> Fact:
        log.info("fetch", credentials=dict(account.credentials))
        return super().fetch(account, subject)


class AnyRefundWillDo(StripeAdapter):
    """Takes whatever refund the payment has for the one that was asked about."""

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        body = self.send(account, "GET", "/v1/refunds").body
        shown = json.loads(body)["data"][0]
        return Fact(FactKind.REFUND_STATE, reversal_id=shown["id"], refund_state="completed")


class ForgetsFailedRefunds(StripeAdapter):
    """Takes every refund that Stripe has for one that was made."""

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        return [event for event in super().translate(delivered) if not _comes_again(event)]

    def fetch(self, account: Account, subject: Subject) -> Fact:
        fact = super().fetch(account, subject)
        return replace(fact, movements=tuple(one for one in fact.movements if one.kind == "reversed"))


def _comes_again(event: Event) -> bool:
    return isinstance(event, Told) and event.fact.kind is FactKind.REINSTATED


def _ended(event: Event) -> Event:
    if isinstance(event, Told) and event.fact.kind is FactKind.ATTEMPT_DECLINED:
        return replace(event, fact=replace(event.fact, kind=FactKind.DECLINED))
    return event


def _ever() -> tuple[datetime.datetime, datetime.datetime]:
    now = datetime.datetime.now(datetime.UTC)
    return now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1)


# Each with the adapter whose emulator it is examined against, and the cases that must find its fault.
FAULTY: dict[type[SandboxAdapter] | type[StripeAdapter], tuple[str, ...]] = {
    NewKeyEachTime: (
        *("created_once", "lost_answer_is_no_second_payment"),
        *("repeated_refund_is_one", "lost_refund_is_asked_for_again"),
    ),
    AnyRefundWillDo: ("lost_refund_is_found_by_our_id",),
    ForgetsFailedRefunds: ("failed_refund_of_ours_comes_again",),
    ClockInTheRequest: ("request_has_the_same_bytes",),
    DeclinesOnErrors: ("server_error_is_asked_again", "torn_answer_is_asked_again", "key_in_use_is_asked_again"),
    DeclinesOnRefusal: (
        *("refused_key_is_ours_to_mend", "mistake_of_ours_is_not_the_payers", "unknown_refusal_is_no_decline"),
    ),
    AnyPage: ("unusable_page_is_not_offered",),
    PageOfALookup: ("unusable_page_is_not_offered",),
    FollowsRedirects: ("redirect_is_not_followed",),
    TakesErrorsForNothing: ("failed_lookup_says_nothing", "unknown_state_is_not_guessed"),
    NeverAsksWhoseItIs: ("other_payment_is_not_taken_for_it",),
    Hundredths: ("every_currency_arrives_as_asked",),
    FirstPageOnly: ("list_has_pages",),
    EmptyOnErrors: ("failed_list_is_no_empty_one",),
    CancelledAnyway: ("cancel_against_paid",),
    BelievesAnybody: ("forged_webhook_is_refused", "unsigned_webhook_is_refused", "changed_body_is_refused"),
    FirstKeyOnly: ("old_secret_is_valid_in_its_overlap",),
    NewIdEachTime: ("replay_is_the_same_delivery",),
    UnknownIsUnusable: ("unknown_event_is_ignored",),
    EverythingIsLive: ("event_says_its_mode",),
    AttemptsEndIt: ("second_attempt_is_not_late", "declined_attempt_leaves_it_open"),
    NoNameInTheBody: ("malformed_webhook_is_unusable",),
    TalksAboutKeys: ("secrets_are_in_no_error_and_no_log",),
}
