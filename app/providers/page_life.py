"""How long a provider's payment page may be open."""

from __future__ import annotations

from app.providers.adapter import Order

# A request takes a moment to arrive, and clocks differ a little.
SLACK_SECONDS = 60


def clamp_end(order: Order, seconds_min: int, seconds_max: int) -> int:
    """Return when the page ends, in seconds since 1970: from `seconds_min` to `seconds_max` after its creation.

    So late that it can be created at any time before the payment expires; the payment's own end closes the page.
    """
    wanted = order.expires_at.timestamp() + seconds_min + SLACK_SECONDS
    return int(min(wanted, order.created_at.timestamp() + seconds_max - SLACK_SECONDS))
