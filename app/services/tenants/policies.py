"""A tenant's policy for late, excess and reversed money and for the time to pay (CONTRACT section 3, "States")."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, select, update

from app.core.validation.card_numbers import has_card
from app.runtime.runtime import Runtime
from app.services.tenants.changes import ConfigurationError, write_audit
from models import tables
from models.database import single

# The columns of a policy, and their names on the command line.
COLUMNS = {
    "tolerance_percent": "Tolerance (percent)",
    "late_policy": "Late money",
    "over_policy": "Too much money",
    "negative_policy": "Wallet below zero by refunds and debits of ours",
    "payment_seconds": "Time to pay (s)",
    "monitoring_seconds": "Monitoring window after expiry (s)",
    "id_fields": "Fields that hold ids",
}
# A user needs a minute to pay; no provider keeps a session for more than thirty days.
PAYMENT_SECONDS = (60, 30 * 86_400)
# A year of daily queries is enough for one payment; reconciliation covers later changes.
MONITORING_SECONDS = (0, 365 * 86_400)

# The same bounds as for a deposit's metadata and their keys.
ID_FIELDS_MAX = 50
ID_FIELD_LENGTH_MAX = 40

_ID_FIELDS = single(select(tables.tenants.c.id_fields).where(tables.tenants.c.id == bindparam("tenant_id")))


def read_id_fields(runtime: Runtime, tenant_id: uuid.UUID) -> frozenset[str]:
    """Return the fields that hold ids, which may have the form of card numbers."""
    ((names,),) = runtime.database.run_single("web", _ID_FIELDS, {"tenant_id": tenant_id}, tenant_id)
    return frozenset(names)


def read_policy(runtime: Runtime, tenant_id: uuid.UUID) -> dict[str, Any]:
    """Return the tenant's policy by column."""
    with runtime.database.transaction("operator") as connection:
        query = select(*(tables.tenants.c[name] for name in COLUMNS)).where(tables.tenants.c.id == tenant_id)
        return dict(connection.execute(query).mappings().one())


def change_policy(runtime: Runtime, tenant_id: uuid.UUID, changes: dict[str, Any], actor: str) -> dict[str, Any]:
    """Change the given columns and return the whole policy; it applies to every decision from now on.

    Raise ConfigurationError for an invalid value.
    """
    _check(changes)
    if changes:
        with runtime.database.transaction("operator") as connection:
            connection.execute(update(tables.tenants).where(tables.tenants.c.id == tenant_id).values(changes))
            # The audit has a percentage as it was written, not as a binary fraction.
            detail = {name: str(value) if isinstance(value, Decimal) else value for name, value in changes.items()}
            write_audit(connection, tenant_id, actor, "tenant_policy_changed", detail)
    return read_policy(runtime, tenant_id)


def _check(changes: dict[str, Any]) -> None:
    unknown = sorted(changes.keys() - COLUMNS.keys())
    if unknown:
        raise ConfigurationError(f"a policy has no {', '.join(unknown)}")
    tolerance = changes.get("tolerance_percent", Decimal(0))
    if not (isinstance(tolerance, Decimal) and tolerance.is_finite() and 0 <= tolerance <= 100):
        raise ConfigurationError("a tolerance is a percentage from 0 to 100")
    if tolerance != round(tolerance, 2):
        raise ConfigurationError("a tolerance has at most two decimals")
    choices = ("credit", "hold", "reject", "refund")
    for name, allowed in (("late_policy", choices), ("over_policy", choices), ("negative_policy", ("allow", "hold"))):
        if changes.get(name, allowed[0]) not in allowed:
            raise ConfigurationError(f"{name} is one of {', '.join(allowed)}")
    _check_id_fields(changes.get("id_fields", []))
    for name, (least, most) in (("payment_seconds", PAYMENT_SECONDS), ("monitoring_seconds", MONITORING_SECONDS)):
        if not least <= changes.get(name, least) <= most:
            raise ConfigurationError(f"{name} is from {least} to {most}")


def _check_id_fields(names: list[str]) -> None:
    if len(names) > ID_FIELDS_MAX:
        raise ConfigurationError(f"at most {ID_FIELDS_MAX} fields can be ids")
    for name in names:
        if not 0 < len(name) <= ID_FIELD_LENGTH_MAX or not name.isprintable():
            raise ConfigurationError(f"the name of a field has 1 to {ID_FIELD_LENGTH_MAX} printable characters")
        if has_card(name):
            raise ConfigurationError("the name of a field that holds ids must not look like a card number itself")
