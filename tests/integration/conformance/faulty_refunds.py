"""Adapters whose refunds of ours have one fault each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from app.core.errors import ProviderRefusedUs
from app.core.facts import Fact, FactKind
from app.providers import Account, RefundSubject
from app.providers.adapters.stripe import StripeAdapter
from app.providers.calls.outgoing import ProviderAnswer


class NamesAnotherRefund(StripeAdapter):
    """Gives a refund another id than the provider's reports have."""

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        return replace(super().refund(account, subject, request), reversal_id=f"re_{uuid.uuid4().hex}")


class OneKeyForAllRefunds(StripeAdapter):
    """Makes all refunds under one key."""

    def send(
        self,
        account: Account,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        key = {"Idempotency-Key": "refund"} if method == "POST" and path.startswith("/v1/refunds") else {}
        return super().send(account, method, path, body, {**(headers or {}), **key})


class WaitsForRefusedRefunds(StripeAdapter):
    """Takes a refused refund for one that is under way."""

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        return replace(super().refund(account, subject, request), refund_state="processing")


class FailsRefundsOnRefusal(StripeAdapter):
    """Fails the tenant's refund for a credential of ours."""

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        try:
            return super().refund(account, subject, request)
        except ProviderRefusedUs:
            return Fact(FactKind.REFUND_STATE, refund_state="failed")


REFUNDS: dict[type[StripeAdapter], tuple[str, ...]] = {
    NamesAnotherRefund: ("refund_of_ours_is_booked_once",),
    OneKeyForAllRefunds: ("refunds_of_ours_in_part_add_up",),
    WaitsForRefusedRefunds: ("refund_beyond_what_is_left_is_refused",),
    FailsRefundsOnRefusal: ("refund_with_a_refused_key_is_ours_to_mend",),
}
