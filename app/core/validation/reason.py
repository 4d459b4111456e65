"""An operator's reason for an action: a short text for the audit."""

from __future__ import annotations

from app.core.validation.card_numbers import has_card

# Two or three sentences. Longer notes belong into the operator's own ticket system.
REASON_LENGTH_MAX = 500


def check_reason(reason: str) -> str:
    """Return `reason` without blanks around it. Raise ValueError for a reason that cannot be kept."""
    stripped = reason.strip()
    if not stripped or len(reason) > REASON_LENGTH_MAX:
        raise ValueError(f"must have 1 to {REASON_LENGTH_MAX} characters")
    if not stripped.isprintable():
        raise ValueError("must be one line of printable characters")
    if has_card(stripped):
        raise ValueError("must not hold a payment card number")
    return stripped
