"""Prepares a settling process: the first webhooks that it gets would wait for a connection and for plans."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.runtime.runtime import Runtime
from app.services.ledger import posting, shards
from app.services.payments import rows
from app.services.records import audit, notifications
from app.services.webhooks import claims, settle
from models.planning import plan
from models.statements import Statements

log = structlog.get_logger(__name__)

# Where the statements are that every batch runs.
_MODULES = (claims, settle, rows, posting, shards, audit, notifications)


def prepare(runtime: Runtime) -> None:
    """Open a connection and plan what settling runs. Raise nothing: otherwise the first batch does it."""
    values = [value for module in _MODULES for value in vars(module).values()]
    # A module may have a statement for each kind of wallet.
    values += [one for value in values if isinstance(value, dict) for one in value.values()]
    statements = [value for value in values if isinstance(value, Statements)]
    try:
        with runtime.database.transaction("worker", by_keys="few") as connection:
            plan(connection, statements)
    except SQLAlchemyError as error:
        log.warning("settling_not_prepared", error=type(error).__name__)
