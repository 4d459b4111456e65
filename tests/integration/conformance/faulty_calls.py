"""Adapters whose calls have one fault each: creating, querying, listing, closing, amounts and secrets."""

from __future__ import annotations

import datetime
import json
import re
import threading
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from app.core.errors import NotSent, OutcomeUnknown, ProviderCallFailed, ProviderRefusedUs, Throttled, Unavailable
from app.core.facts import Fact, FactKind
from app.core.money import AmountError, CurrencyError
from app.providers import Account, Listed, Order, Subject
from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.adapters.stripe import StripeAdapter
from app.providers.calls.outgoing import ProviderAnswer

_HOUR = datetime.timedelta(hours=1)


class AltersLookups(SandboxAdapter):
    """Says something else than what a lookup found."""

    def alter(self, fact: Fact) -> Fact:
        return fact

    def fetch(self, account: Account, subject: Subject) -> Fact:
        return self.alter(super().fetch(account, subject))


class UnsureOfEverything(SandboxAdapter):
    """Takes a call that was never sent for one that may have had an effect."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        try:
            return super().create(account, payment_id, request)
        except NotSent as error:
            raise OutcomeUnknown(str(error)) from None


class KnowsNoOutage(SandboxAdapter):
    """Does not say that a provider is out of order."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        try:
            return super().create(account, payment_id, request)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from None


class ForgetsTheWait(SandboxAdapter):
    """Forgets how long the provider asks to wait."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        try:
            return super().create(account, payment_id, request)
        except Throttled as error:
            raise Throttled(str(error)) from None


class TakesLifeAsItIs(StripeAdapter):
    """Asks for an end that the provider does not take."""

    def build_request(self, order: Order) -> bytes:
        ends = f"expires_at={int(order.expires_at.timestamp())}".encode()
        return re.sub(rb"expires_at=\d+", ends, super().build_request(order))


class LongMetadata(SandboxAdapter):
    """Sends more metadata than the provider takes."""

    def build_request(self, order: Order) -> bytes:
        body = json.loads(super().build_request(order))
        body["metadata"] = {name: value * 2 for name, value in order.metadata.items()}
        return json.dumps(body).encode()


class OpenIsPaid(AltersLookups):
    """Takes every open payment for a paid one."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, kind=FactKind.SUCCEEDED) if fact.kind is FactKind.PENDING else fact


class FindsNothing(SandboxAdapter):
    """Finds no payment by our id, and says that there is none."""

    def fetch(self, account: Account, subject: Subject) -> Fact:
        return Fact(FactKind.NOT_FOUND) if subject.reference is None else super().fetch(account, subject)


class NobodyIsOpen(AltersLookups):
    """Takes a payment that the provider does not have for an open one."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, kind=FactKind.PENDING) if fact.kind is FactKind.NOT_FOUND else fact


class CountsInMajorUnits(AltersLookups):
    """Reports dollars where cents are meant."""

    def alter(self, fact: Fact) -> Fact:
        return fact if fact.amount_minor is None else replace(fact, amount_minor=fact.amount_minor // 100)


class ProcessingIsPaid(AltersLookups):
    """Takes a payment that is under way for a paid one."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, kind=FactKind.SUCCEEDED) if fact.kind is FactKind.COMMITTED else fact


class OwnClient(SandboxAdapter):
    """Calls with a client of its own, without bounds."""

    def send(
        self,
        account: Account,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        sent = {**self.authorize(account), **(headers or {}), "Content-Type": self.content_type}
        request = urllib.request.Request(account.api_base_url + path, body, sent, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return ProviderAnswer(answer.status, answer.read(), None)


class LastOneWins(SandboxAdapter):
    """Keeps a call's state in the adapter, which eight threads share."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        super().__init__(private_hosts)
        self.asked: str | None = None
        self.all_asked = threading.Barrier(8)

    def fetch(self, account: Account, subject: Subject) -> Fact:
        self.asked = subject.reference
        self.all_asked.wait(timeout=60)
        return replace(super().fetch(account, subject), reference=self.asked)


class ListsNothingGivenBack(SandboxAdapter):
    """Lists payments without what was given back."""

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        for row in super().list_payments(account, created_after, created_before):
            yield replace(row, refunded_minor=0)


class ListsAllTimes(SandboxAdapter):
    """Lists more than the period."""

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        yield from super().list_payments(account, created_after - 9 * _HOUR, created_before + 9 * _HOUR)


class StaysOpen(SandboxAdapter):
    """Says open of a payment that it has closed."""

    def cancel(self, account: Account, subject: Subject) -> Fact:
        return replace(super().cancel(account, subject), kind=FactKind.PENDING)


class ClosedOnErrors(SandboxAdapter):
    """Says cancelled where nobody knows."""

    def cancel(self, account: Account, subject: Subject) -> Fact:
        try:
            return super().cancel(account, subject)
        except ProviderCallFailed:
            return Fact(FactKind.CANCELLED, subject.reference)


class ForgetsTheClock(AltersLookups):
    """Does not say that the time was up."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, is_expiry=False)


class DollarsForAll(StripeAdapter):
    """Asks for dollars in place of a currency that it does not know."""

    def build_request(self, order: Order) -> bytes:
        try:
            return super().build_request(order)
        except CurrencyError:
            return super().build_request(replace(order, currency="USD"))


class RoundsUp(StripeAdapter):
    """Asks for a hundred where the amount cannot be said."""

    def build_request(self, order: Order) -> bytes:
        try:
            return super().build_request(order)
        except AmountError:
            return super().build_request(replace(order, amount_minor=100_000))


class UnknownIsOurFault(AltersLookups):
    """Calls a person for a payment that is not there."""

    def alter(self, fact: Fact) -> Fact:
        if fact.kind is FactKind.NOT_FOUND:
            raise ProviderRefusedUs("no such payment")
        return fact


class RemembersTheKey(SandboxAdapter):
    """Keeps the credentials of its last call."""

    def authorize(self, account: Account) -> Mapping[str, str]:
        self.last: Any = super().authorize(account)
        return dict(self.last)


CALLS: dict[type[SandboxAdapter] | type[StripeAdapter], tuple[str, ...]] = {
    UnsureOfEverything: ("nothing_is_sent_to_a_closed_port",),
    KnowsNoOutage: ("server_error_is_asked_again", "torn_answer_is_asked_again", "redirect_is_not_followed"),
    ForgetsTheWait: ("throttled_is_not_sent",),
    TakesLifeAsItIs: ("any_life_is_taken",),
    LongMetadata: ("full_metadata_is_taken",),
    OpenIsPaid: ("open_payment_is_found",),
    FindsNothing: ("payment_is_found_by_our_id",),
    NobodyIsOpen: ("unknown_id_is_never_taken_for_none",),
    UnknownIsOurFault: ("unknown_payment_is_not_found",),
    CountsInMajorUnits: ("paid_payment_has_its_money",),
    ProcessingIsPaid: ("every_state_is_read",),
    OwnClient: ("large_answer_is_bounded", "slow_answer_is_bounded"),
    LastOneWins: ("calls_share_the_adapter",),
    ListsNothingGivenBack: ("list_equals_the_truth",),
    ListsAllTimes: ("list_has_its_period",),
    StaysOpen: ("cancelled_once",),
    ClosedOnErrors: ("failed_cancel_is_not_cancelled",),
    ForgetsTheClock: ("expired_is_cancelled_by_the_clock",),
    DollarsForAll: ("other_currency_is_refused",),
    RoundsUp: ("unspeakable_amount_is_refused",),
    RemembersTheKey: ("secrets_are_in_no_repr",),
}
