"""Translate a stored webhook into what it says, and that into items to settle."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core.decision import Reason
from app.core.facts import FactKind, Input
from app.providers import Asks, Delivered, Event, Told
from app.providers.capabilities import Reversals
from app.providers.events import POKE_PATH
from app.runtime.runtime import Runtime
from app.services.payments.batch_decisions import Item
from app.services.records.dead_letters import DeadLetterRow


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook as the inbox stores it; `attempts` is how often it was claimed, `mode` its provider's.

    `is_any_paused`: the breaker of some provider, not necessarily this one's, is open.
    """

    id: uuid.UUID
    tenant_id: uuid.UUID
    provider_id: uuid.UUID
    path: str
    body: bytes
    headers: dict[str, Any]
    payment_id: uuid.UUID | None
    attempts: int
    # None where the provider's row is gone.
    adapter: str | None
    mode: str | None = None
    is_any_paused: bool | None = None


@functools.lru_cache(maxsize=1_024)
def name_provider(provider_id: uuid.UUID) -> str:
    """Return the provider as an actor of the audit."""
    return f"provider:{provider_id}"


def translate(runtime: Runtime, webhook: StoredWebhook) -> Sequence[Event]:
    """Return what the webhook says, in its order.

    Money given back in a form that the adapter does not declare is a hint: the provider is asked. Raise Unusable where
    the body is ambiguous or malformed, ProviderUnusable where there is no adapter that reads it.
    """
    adapter = runtime.find_adapter(webhook.adapter)
    if webhook.path == POKE_PATH:
        # Nobody signed it: whatever it says, it is no more than a hint.
        name = adapter.read_poke(webhook.body)
        return () if name is None else (Asks(name),)
    events = adapter.translate(Delivered(webhook.path, webhook.body, webhook.headers))
    undeclared = _OTHER_FORM[adapter.capabilities.reversals]
    return [_as_hint(event) if isinstance(event, Told) and event.fact.kind in undeclared else event for event in events]


# The kinds of facts in the form that an adapter does not declare, by the one that it does.
_OTHER_FORM: dict[Reversals, tuple[FactKind, ...]] = {
    "ids": (FactKind.REFUNDED,),
    "totals": (FactKind.REVERSED, FactKind.REINSTATED),
}


def _as_hint(event: Told) -> Asks:
    return Asks(event.name, event.event_id)


def make_item(webhook: StoredWebhook, payment_id: uuid.UUID, given: Input) -> Item:
    """Return the item to settle for a fact or command of the webhook about a payment."""
    evidence = (webhook.id, webhook.body, webhook.headers)
    actor = name_provider(webhook.provider_id)
    return Item(webhook.tenant_id, payment_id, given, actor, webhook.provider_id, *evidence)


def to_dead_letter(webhook: StoredWebhook, reason: Reason, detail: str) -> DeadLetterRow:
    """Return the dead letter of a webhook that cannot be used, with its raw bytes and headers."""
    return DeadLetterRow(
        tenant_id=webhook.tenant_id,
        kind="webhook",
        reason=reason,
        detail=detail,
        payment_id=webhook.payment_id,
        provider_id=webhook.provider_id,
        webhook_id=webhook.id,
        body=webhook.body,
        headers=webhook.headers,
        attempts=webhook.attempts,
    )
