"""Routes of a tenant: providers for deposits in a currency, in order. Every change is audited."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select

from app.core.money import CURRENCY_DIGITS
from app.runtime.runtime import Runtime
from app.services.tenants.changes import ConfigurationError, read_rows, write_audit
from models import tables
from models.sql import columns

_ROUTES, _PROVIDERS = tables.provider_routes, tables.payment_providers

# A deposit is made within its user's patience: no more providers than this are tried for it.
ROUTE_LENGTH_MAX = 10


def set_route(
    runtime: Runtime, tenant_id: uuid.UUID, currency: str, provider_ids: Sequence[uuid.UUID], actor: str
) -> None:
    """Replace the route of a currency; without providers it goes to the default provider again.

    Raise ConfigurationError for an unknown currency, and for providers that are not the tenant's, not enabled, do not
    take the currency, or stand twice.
    """
    if currency not in CURRENCY_DIGITS:
        raise ConfigurationError(f"{currency!r} is no ISO 4217 currency")
    if len(set(provider_ids)) != len(provider_ids) or len(provider_ids) > ROUTE_LENGTH_MAX:
        raise ConfigurationError(f"a route has up to {ROUTE_LENGTH_MAX} providers, each once")
    with runtime.database.transaction("operator") as connection:
        of_tenant = _PROVIDERS.c.tenant_id == tenant_id, _PROVIDERS.c.id.in_(provider_ids)
        query = select(*columns(_PROVIDERS, "id", "currencies", "disabled_at")).where(*of_tenant)
        found = {row.id: row for row in connection.execute(query)}
        for provider_id in provider_ids:
            row = found.get(provider_id)
            if row is None or row.disabled_at is not None:
                raise ConfigurationError(f"{provider_id} is no enabled provider of the tenant")
            if row.currencies is not None and currency not in row.currencies:
                raise ConfigurationError(f"provider {provider_id} does not take {currency}")
        of_currency = _ROUTES.c.tenant_id == tenant_id, _ROUTES.c.currency == currency
        before = connection.execute(select(_ROUTES.c.provider_id).where(*of_currency).order_by(_ROUTES.c.position))
        detail = {
            "currency": currency,
            "from": [str(one) for one in before.scalars()],
            "to": list(map(str, provider_ids)),
        }
        connection.execute(delete(_ROUTES).where(*of_currency))
        rows = [
            {"tenant_id": tenant_id, "currency": currency, "position": position, "provider_id": provider_id}
            for position, provider_id in enumerate(provider_ids, 1)
        ]
        if rows:
            connection.execute(insert(_ROUTES), rows)
        write_audit(connection, tenant_id, actor, "route_changed", detail)


def list_routes(runtime: Runtime, tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return the tenant's routes, one row for each provider: `{currency, position, provider_id, name}`."""
    query = select(*columns(_ROUTES, "currency", "position", "provider_id"), _PROVIDERS.c.name)
    query = query.join_from(_ROUTES, _PROVIDERS, _PROVIDERS.c.id == _ROUTES.c.provider_id)
    return read_rows(
        runtime, query.where(_ROUTES.c.tenant_id == tenant_id).order_by(_ROUTES.c.currency, _ROUTES.c.position)
    )
