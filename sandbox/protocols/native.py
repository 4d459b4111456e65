"""The sandbox's own protocol: the common body of CONTRACT section 4 and Standard Webhooks."""

from __future__ import annotations

from typing import Any

from sandbox.protocols.protocol import Notice, Occurrence, ProviderProtocol, Unsigned
from sandbox.values import amounts, signing


class NativeProtocol(ProviderProtocol):
    """What the sandbox speaks at `/v1/payments`."""

    is_native = True

    def check_secret(self, secret: str) -> None:
        signing.secret_bytes(secret)

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return the one webhook; a success carries the total received so far, a refund its total."""
        event, payment = occurrence.event, occurrence.payment
        minor, currency = payment.amount_minor, payment.currency
        if payment.received_currency is not None and event in ("success", "refunded"):
            currency = payment.received_currency
            minor = payment.received_minor if event == "success" else payment.reversed_minor
        event_type = f"payment.{event}"
        body: dict[str, Any] = {
            "provider_id": occurrence.provider_id,
            "event_id": occurrence.event_id,
            "event_type": event_type,
            "transaction_id": payment.merchant_reference,
            "provider_reference": payment.reference,
            "status": event,
            "amount": amounts.render(minor, currency),
            "currency": currency,
        }
        if event == "failed":
            body["error_message"] = payment.error_message or "The payment failed."
        return [Notice(event_type, body | {"occurred_at": payment.updated_at})]

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        key = signing.secret_bytes(unsigned.secrets[0])
        signature = signing.sign(key, unsigned.webhook_id, unsigned.timestamp, unsigned.body)
        return self.unsigned_headers(unsigned) | {"webhook-signature": signature}

    def unsigned_headers(self, unsigned: Unsigned) -> dict[str, str]:
        return {"webhook-id": unsigned.webhook_id, "webhook-timestamp": str(unsigned.timestamp)}
