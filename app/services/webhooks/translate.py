"""Translate a stored webhook into the item to settle: its payment and its fact."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass, replace
from typing import Any

from app.core.errors import ProviderUnusable, Unusable
from app.core.facts import Fact, FactKind
from app.core.strict_json import JsonError, loads
from app.providers import Adapter
from app.providers.common_webhook import translate_callback
from app.runtime.runtime import Runtime
from app.services.payments.batch_decisions import Item
from app.services.records.dead_letters import DeadLetterRow
from app.services.webhooks.receive import PROVIDER_PATH


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook as the inbox stores it; `attempts` is how often it was claimed.

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
    is_any_paused: bool | None = None


@functools.lru_cache(maxsize=1_024)
def name_provider(provider_id: uuid.UUID) -> str:
    """Return the provider as an actor of the audit."""
    return f"provider:{provider_id}"


def translate(runtime: Runtime, webhook: StoredWebhook) -> Item:
    """Return the item to settle.

    Raise Unusable where the body is ambiguous or malformed, ProviderUnusable where there is no adapter that reads it.
    """
    try:
        body = loads(webhook.body)
    except JsonError as error:
        raise Unusable(str(error)) from None
    if not isinstance(body, dict):
        raise Unusable("the body is no object")
    if webhook.path == PROVIDER_PATH:
        payment_id, fact = _adapter(runtime, webhook).translate(body)
    else:
        payment_id, fact = translate_callback(body)
    fact, actor = _complete(runtime, webhook, fact), name_provider(webhook.provider_id)
    evidence = (webhook.id, webhook.body, webhook.headers)
    return Item(webhook.tenant_id, payment_id, fact, actor, webhook.provider_id, *evidence)


def _adapter(runtime: Runtime, webhook: StoredWebhook) -> Adapter:
    adapter = runtime.adapters.get(webhook.adapter or "")
    if adapter is None:
        raise ProviderUnusable(f"its adapter {webhook.adapter!r} is not known here")
    return adapter


def _complete(runtime: Runtime, webhook: StoredWebhook, fact: Fact) -> Fact:
    """Add how long the provider's slow methods take, which its adapter knows and the common body does not say."""
    if fact.kind is not FactKind.COMMITTED or fact.settles_within_days is not None:
        return fact
    return replace(fact, settles_within_days=_adapter(runtime, webhook).settles_within_days)


def to_dead_letter(webhook: StoredWebhook, reason: str, detail: str) -> DeadLetterRow:
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
