"""Adapters that have one fault each in what they believe of webhooks, and in what these say of a payment."""

from __future__ import annotations

import time
import urllib.parse
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.core.facts import Fact, FactKind
from app.core.signatures import Key, Scheme, rejected
from app.providers import Adapter, Delivered, Event, Name, Received, Subject, Told
from app.providers.adapter import Account
from app.providers.adapters.adyen import AdyenAdapter
from app.providers.adapters.mollie import MollieAdapter
from app.providers.adapters.paystack import PaystackAdapter
from app.providers.adapters.stripe import StripeAdapter

_DAY = 86_400


class NamesAnother(StripeAdapter):
    """Names another payment than the webhook is about."""

    def name_payment(self, path: str, body: Any) -> Name | None:
        return uuid.uuid4()


class AnySecret(StripeAdapter):
    """Takes any secret."""

    def check_secret(self, configured: Scheme, secret: str) -> None:
        return


class StoppedClock(StripeAdapter):
    """Judges a signature's time by itself."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        said = received.headers["stripe-signature"].partition("t=")[2].partition(",")[0]
        return super().verify(configured, keys, received, float(said))


class DistrustsTheLate(PaystackAdapter):
    """Refuses webhooks that the provider sends again after a day."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        if now_seconds - time.time() > _DAY:
            raise rejected("timestamp")
        return super().verify(configured, keys, received, now_seconds)


class BelievesPokes(MollieAdapter):
    """Takes an unsigned notification for a signed one."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        if received.body.startswith(b"id="):
            return received.body.decode("ascii")
        return super().verify(configured, keys, received, now_seconds)


class RaisesOnPokes(MollieAdapter):
    """Raises where a notification names nothing."""

    def read_poke(self, body: bytes) -> Name | None:
        return urllib.parse.parse_qs(body.decode())["id"][0]


class TakesPokes(StripeAdapter):
    """Reads unsigned notifications, which its provider does not send."""

    def read_poke(self, body: bytes) -> Name | None:
        return body.decode("ascii", "replace")[:100]


class FirstOfMany(AdyenAdapter):
    """Reads the first event of a delivery."""

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        return super().translate(delivered)[:1]


class AltersFacts(StripeAdapter):
    """Says something else than what webhooks and lookups have."""

    def alter(self, fact: Fact) -> Fact:
        return fact

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        return [
            replace(one, fact=self.alter(one.fact)) if isinstance(one, Told) else one for one in self.read(delivered)
        ]

    def read(self, delivered: Delivered) -> Sequence[Event]:
        return super().translate(delivered)

    def fetch(self, account: Account, subject: Subject) -> Fact:
        return self.alter(super().fetch(account, subject))


class CreditsHalf(AltersFacts):
    """Reports half of what came."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, amount_minor=(fact.amount_minor or 0) // 2) if fact.kind is FactKind.SUCCEEDED else fact


class SlowIsDeclined(AltersFacts):
    """Takes a slow method for a decline."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, kind=FactKind.DECLINED) if fact.kind is FactKind.COMMITTED else fact


class FailedIsPaid(AltersFacts):
    """Takes the failure of a slow method for money."""

    def alter(self, fact: Fact) -> Fact:
        if fact.kind is not FactKind.DECLINED:
            return fact
        return replace(fact, kind=FactKind.SUCCEEDED, amount_minor=2_500, currency="USD")


class FailsNever(AltersFacts):
    """Takes the failure of a slow method for one attempt of several, while its lookup says that it is under way."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, kind=FactKind.ATTEMPT_DECLINED) if fact.kind is FactKind.DECLINED else fact


class NewRefundEachTime(AltersFacts):
    """Gives a refund another id each time."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, reversal_id=str(uuid.uuid4())) if fact.kind is FactKind.REVERSED else fact


class OneRefundOnly(AltersFacts):
    """Gives all refunds one id, and says nothing of them in lookups."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, reversal_id="refund", movements=()) if fact.kind is FactKind.REVERSED else _still(fact)


class NothingComesAgain(AltersFacts):
    """Says nothing of money that comes again."""

    def alter(self, fact: Fact) -> Fact:
        return _still(fact)

    def read(self, delivered: Delivered) -> Sequence[Event]:
        events = super().read(delivered)
        return [one for one in events if not isinstance(one, Told) or one.fact.kind is not FactKind.REINSTATED]


class DisputesTakeNothing(AltersFacts):
    """Says nothing of the money of a dispute."""

    def alter(self, fact: Fact) -> Fact:
        return _still(fact)

    def read(self, delivered: Delivered) -> Sequence[Event]:
        events = super().read(delivered)
        return [one for one in events if not isinstance(one, Told) or one.fact.kind is not FactKind.REVERSED]


class DisputesStayOpen(AltersFacts):
    """Never says that a dispute has ended."""

    def alter(self, fact: Fact) -> Fact:
        return replace(fact, dispute_state="opened" if fact.dispute_state else None, disputes=())


def _still(fact: Fact) -> Fact:
    return replace(fact, movements=())


WEBHOOKS: dict[type[Adapter], tuple[str, ...]] = {
    NamesAnother: ("honest_webhook_is_believed",),
    AnySecret: ("unfit_secret_is_refused",),
    StoppedClock: ("old_signature_is_refused",),
    DistrustsTheLate: ("old_signature_is_refused",),
    BelievesPokes: ("poke_only_asks",),
    RaisesOnPokes: ("poke_only_asks",),
    TakesPokes: ("poke_only_asks",),
    FirstOfMany: ("joined_events_are_told_apart",),
    CreditsHalf: ("paid_is_completed_once",),
    SlowIsDeclined: ("slow_method_is_waited_for",),
    FailedIsPaid: ("slow_method_can_fail",),
    FailsNever: ("slow_method_can_fail",),
    NewRefundEachTime: ("refund_is_booked_once",),
    OneRefundOnly: ("refunds_in_part_add_up",),
    NothingComesAgain: ("failed_refund_comes_again", "any_order_has_the_same_end"),
    DisputesTakeNothing: ("lost_dispute_takes_the_money",),
    DisputesStayOpen: ("won_dispute_leaves_the_money", "lost_dispute_takes_the_money"),
}
