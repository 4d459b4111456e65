"""Receive pokes: notifications that nobody signed. One says that there is news, and only our own lookup is a fact.

Who knows the URL may send one; its token is all that it proves. A poke makes a lookup of its payment due, whatever the
payment's state and age, unless one is due already. It is settled like a webhook, so that it waits its turn with those
of its tenant and survives a crash.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from app.core.errors import WebhookRejected
from app.providers import Name
from app.runtime.metrics import POKES_RECEIVED
from app.runtime.runtime import Runtime
from app.runtime.token_bucket import TokenBucket
from app.services.access.poke_senders import Poked, find_poked
from app.services.webhooks.inbox import ADDRESS_CHARACTERS_MAX, storable
from app.services.webhooks.kept_headers import keep_headers
from app.services.webhooks.receive import Delivery, refuse
from models import new_id
from models.database import single

# A poke names a payment; the longest known form, a callback of a mobile network, has about a kilobyte.
POKE_BYTES_MAX = 16 * 1024
# A poke may come before the answer in which the provider named its payment, so some that name none of ours are kept
# and tried again. A web process keeps one a second of a provider, whatever comes; none of them costs a call.
UNKNOWN_PER_SECOND = 1.0
# One whose payment was asked about within the minute is due at once, so many times a second for a provider and process;
# of a flood, each payment is asked about again after REPEAT_SECONDS at the earliest, when the sweep rings.
REPEATS_PER_SECOND = 20.0
REPEAT_SECONDS = 2.0
# Providers whose budgets a process remembers, some hundred bytes each.
BUDGETS_MAX = 10_000

_STORE = single(
    """
    select outcome from door_store_poke(
        :id, :tenant_id, :provider_id, cast(:payment_id as uuid), cast(:reference as text), cast(:body as bytea),
        cast(:headers as jsonb), :address, :stores_unknown, :wait_seconds)
    """
)


def find(runtime: Runtime, delivery: Delivery, token: str) -> Poked:
    """Return the provider whose URL has the token. Raise WebhookRejected (404), and ProviderUnusable."""
    found = find_poked(runtime, delivery.provider_id or "", token)
    if found is None:
        refuse(runtime, delivery, "unknown_provider")
        raise WebhookRejected(404, "unknown_provider", "there is no such provider", "provider_unknown")
    return found


def receive_poke(runtime: Runtime, poked: Poked, delivery: Delivery) -> str:
    """Store a poke and ring; return what it led to: stored, repeated, coalesced or unknown.

    Raise WebhookRejected (400, 403) after keeping a bounded record of the refusal, and sqlalchemy.exc.SQLAlchemyError
    where it could not be stored: the sender has to try again.
    """
    try:
        name = _read(runtime, poked, delivery)
    except WebhookRejected as rejection:
        refuse(runtime, delivery, rejection.reason, poked.id)
        raise
    budget = _budget_of(poked.id)
    stored = _describe(runtime, poked, delivery, name)
    stored["wait_seconds"] = 0.0 if budget.repeats.take() else REPEAT_SECONDS
    outcome = _store(runtime, stored, stores_unknown=False)
    if outcome == "unknown" and budget.unknown.take():
        outcome = _store(runtime, stored, stores_unknown=True)
    POKES_RECEIVED.labels(outcome).inc()
    if outcome in ("stored", "repeated"):
        runtime.doorbells.ring("settle")
    return outcome


def _read(runtime: Runtime, poked: Poked, delivery: Delivery) -> Name:
    if not poked.may_send_from(delivery.remote_address):
        message = "this address may not send webhooks for the provider"
        raise WebhookRejected(403, "address", message, "address_forbidden")
    name = runtime.find_adapter(poked.adapter).read_poke(delivery.body)
    if name is None:
        raise WebhookRejected(400, "no_payment", "the notification names no payment", "webhook_without_payment")
    return name


def _describe(runtime: Runtime, poked: Poked, delivery: Delivery, name: Name) -> dict[str, object]:
    kept = keep_headers(delivery.headers, (), runtime.find_adapter(poked.adapter).credential_headers)
    headers = {header: storable(value) for header, value in kept.items()}
    payment_id, reference = (None, storable(name)) if isinstance(name, str) else (name, None)
    return {
        "id": new_id(),
        "tenant_id": poked.tenant_id,
        "provider_id": poked.id,
        "payment_id": payment_id,
        "reference": reference,
        "body": delivery.body,
        "headers": orjson.dumps(headers).decode(),
        "address": storable(delivery.remote_address[:ADDRESS_CHARACTERS_MAX]),
    }


def _store(runtime: Runtime, stored: Mapping[str, object], *, stores_unknown: bool) -> str:
    rows = runtime.database.run_single("door", _STORE, {**stored, "stores_unknown": stores_unknown})
    return str(rows[0].outcome)


@dataclass(frozen=True, slots=True)
class _Budget:
    """What a process does for the pokes of one provider within a second."""

    unknown: TokenBucket = field(default_factory=lambda: TokenBucket(UNKNOWN_PER_SECOND))
    repeats: TokenBucket = field(default_factory=lambda: TokenBucket(REPEATS_PER_SECOND))


# By provider; one that comes back after it was forgotten has its whole budget.
_budgets: dict[uuid.UUID, _Budget] = {}


def _budget_of(provider_id: uuid.UUID) -> _Budget:
    budget = _budgets.get(provider_id)
    if budget is None:
        if len(_budgets) >= BUDGETS_MAX:
            _budgets.clear()
        budget = _budgets.setdefault(provider_id, _Budget())
    return budget
