"""A tenant's providers as its own backend sees them: what each takes, and whether it takes deposits now."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import bindparam, case, func, select

from app.core.money import CURRENCY_DIGITS
from models import Database, single, tables
from models.sql import columns

_PROVIDERS, _BREAKERS, _TENANTS = tables.payment_providers, tables.provider_breakers, tables.tenants

_STATUS = case(
    (_PROVIDERS.c.disabled_at.is_not(None), "disabled"),
    (_BREAKERS.c.paused_until > func.now(), "paused"),
    else_="ok",
).label("status")
_OWN = single(
    select(
        *columns(_PROVIDERS, "id", "name", "adapter", "currencies"),
        _STATUS,
        (_PROVIDERS.c.id == _TENANTS.c.default_provider_id).label("is_default"),
    )
    .join_from(_PROVIDERS, _TENANTS, _TENANTS.c.id == _PROVIDERS.c.tenant_id)
    .outerjoin(
        _BREAKERS, (_BREAKERS.c.tenant_id == _PROVIDERS.c.tenant_id) & (_BREAKERS.c.provider_id == _PROVIDERS.c.id)
    )
    .where(_PROVIDERS.c.tenant_id == bindparam("tenant_id"))
    # Their ids are in the order of their creation.
    .order_by(_PROVIDERS.c.id)
)


def list_own_providers(database: Database, tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return a tenant's providers as its API shows them, oldest first: `{id, name, adapter, currencies, status, ...}`.

    `status`: `disabled` takes no deposits, `paused` answers no calls at present and its deposits wait, else `ok`.
    """
    return [
        row._asdict()
        | {
            "id": str(row.id),
            "currencies": name_currencies(row.currencies),
            "is_default": bool(row.is_default),
        }
        for row in database.run_single("web", _OWN, {"tenant_id": tenant_id}, tenant_id)
    ]


def name_currencies(stored: list[str] | None) -> list[str]:
    """Return the currencies of a provider in their order, given as they are stored: null for all."""
    return sorted(CURRENCY_DIGITS if stored is None else stored)
