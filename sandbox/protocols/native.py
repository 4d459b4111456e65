"""The sandbox's own protocol: the common body of CONTRACT section 4 and Standard Webhooks."""

from __future__ import annotations

from typing import Any

from sandbox.protocols.protocol import Event, Notice, Occurrence, ProviderProtocol, Unsigned
from sandbox.values import amounts, signing

# By event: the status that the webhook carries, and of a dispute its outcome.
_REPORTS: dict[Event, tuple[str, str | None]] = {
    "success": ("success", None),
    "failed": ("failed", None),
    "cancelled": ("cancelled", None),
    "processing": ("processing", None),
    "refunded": ("refunded", None),
    "refund_failed": ("reinstated", None),
    "disputed": ("disputed", "opened"),
    "dispute_won": ("disputed", "won"),
    "dispute_lost": ("disputed", "lost"),
    "stray": ("noted", None),
}
# A dispute withdraws money, and one that is won brings it back.
_ALSO: dict[Event, tuple[str, str | None]] = {"disputed": ("refunded", None), "dispute_won": ("reinstated", None)}


class NativeProtocol(ProviderProtocol):
    """What the sandbox speaks at `/v1/payments`."""

    is_native = True

    def check_account(self, api_key: str, secret: str) -> None:
        signing.secret_bytes(secret)

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return the webhooks; a success carries the total received so far, a refund the total that is gone again."""
        reports = [table[occurrence.event] for table in (_REPORTS, _ALSO) if occurrence.event in table]
        return [_notice(occurrence, *each, index) for index, each in enumerate(reports)]

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        key = signing.secret_bytes(unsigned.secrets[0])
        signature = signing.sign(key, unsigned.webhook_id, unsigned.timestamp, unsigned.body)
        return self.unsigned_headers(unsigned) | {"webhook-signature": signature}

    def unsigned_headers(self, unsigned: Unsigned) -> dict[str, str]:
        return {"webhook-id": unsigned.webhook_id, "webhook-timestamp": str(unsigned.timestamp)}


def _notice(occurrence: Occurrence, status: str, outcome: str | None, index: int) -> Notice:
    payment, back = occurrence.payment, occurrence.money_back
    minor, currency = payment.amount_minor, payment.currency
    if payment.received_currency is not None and status in ("success", "refunded"):
        currency = payment.received_currency
        minor = payment.received_minor if status == "success" else payment.reversed_minor
    body: dict[str, Any] = {
        "provider_id": occurrence.provider_id,
        "event_id": f"{occurrence.event_id}{index or ''}",
        "event_type": f"payment.{status}",
        "transaction_id": payment.merchant_reference,
        "provider_reference": payment.reference,
        "status": status,
        "amount": amounts.render(minor, currency),
        "currency": currency,
    }
    if status == "failed":
        body["error_message"] = payment.error_message or "The payment failed."
    if back is not None and status in ("disputed", "reinstated"):
        body |= {"amount": amounts.render(back.amount_minor, back.currency), "currency": back.currency}
        if back.request.get("refund_id"):
            # The merchant's own refund, by the merchant's id of it.
            body["refund_id"] = back.request["refund_id"]
        body |= {"reversal_id": back.token} if outcome is None else {"dispute_id": back.token, "outcome": outcome}
    return Notice(f"payment.{status}", body | {"occurred_at": payment.updated_at})
