"""Refunds as the outside sees them (CONTRACT section 10)."""

from __future__ import annotations

import uuid
from typing import Any

from app.core.money import format_amount
from app.core.payment import format_time
from app.core.refunds.records import Refund


def present_refund(payment_id: uuid.UUID, refund: Refund) -> dict[str, Any]:
    """Return the refund as callers and notifications have it."""
    return {
        "id": str(refund.id),
        "payment_id": str(payment_id),
        "amount": format_amount(refund.amount_minor, refund.currency),
        "amount_minor": refund.amount_minor,
        "currency": refund.currency,
        "status": str(refund.status),
        "provider_reference": refund.provider_reference,
        "reason": refund.reason,
        "failure_reason": refund.failure_reason,
        "metadata": dict(refund.metadata),
        "created_at": format_time(refund.created_at),
        "updated_at": format_time(refund.updated_at),
    }
