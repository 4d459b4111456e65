"""Functions that all changes of the configuration share: their error, checks of names, and their audit rows."""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    RowMapping,
    Table,
    Text,
    cast,
    exists,
    or_,
    select,
    true,
    update,
)

from app.runtime.runtime import Runtime
from app.services.records import audit
from app.services.records.audit import AuditRow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", re.ASCII)


class ConfigurationError(ValueError):
    """A value that the operator gave cannot be configured."""


def check_name(name: str) -> None:
    """Raise ConfigurationError unless `name` can name a tenant or a provider."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError("a name has 1 to 64 letters, digits, blanks and ._-")


def is_called(table: Table, name_or_id: str) -> ColumnElement[bool]:
    """Return the condition that a row of `table` has this name or id."""
    return or_(table.c.name == name_or_id, cast(table.c.id, Text) == name_or_id)


def local_actor() -> str:
    """Return `uid:<number>@<host>`, the audit's actor for a command that runs on this machine.

    Both come from the kernel. LOGNAME and USER are environment variables, which every user can set to another name.
    """
    return f"uid:{os.getuid()}@{socket.gethostname()}"


def name_reason(reason: str | None) -> dict[str, str]:
    """Return an operator's reason under its name in audit rows, which may have a `reason` of their own."""
    return {} if reason is None else {"operator_reason": reason}


def write_audit(connection: Connection, tenant_id: uuid.UUID, actor: str, kind: str, detail: dict[str, Any]) -> None:
    """Write the change into the audit, in the change's own transaction."""
    audit.write(connection, [AuditRow(tenant_id, actor, kind, detail)])


def change_one(runtime: Runtime, statement: Executable, actor: str, kind: str, detail: dict[str, Any]) -> bool:
    """Run a statement that returns the tenant of the row it changed, and audit that; return whether there was a row."""
    with runtime.database.transaction("operator") as connection:
        tenant_id = connection.execute(statement).scalar()
        if tenant_id is not None:
            write_audit(connection, tenant_id, actor, kind, detail)
    return tenant_id is not None


def write_changes(
    connection: Connection, table: Table, row: RowMapping, wanted: Mapping[str, Any], name_is_taken: str
) -> dict[str, dict[str, Any]]:
    """Write the values of `wanted` that differ from the locked `row`; return {column: {"from": ..., "to": ...}}.

    Raise ConfigurationError(name_is_taken) where another row has the new name.
    """
    changed = {name: {"from": row[name], "to": value} for name, value in wanted.items() if row[name] != value}
    if "name" in changed:
        is_near = table.c.tenant_id == row["tenant_id"] if "tenant_id" in table.c else true()
        is_taken = exists().where(is_near, table.c.name == wanted["name"], table.c.id != row["id"])
        if connection.execute(select(is_taken)).scalar():
            raise ConfigurationError(name_is_taken)
    if changed:
        values = {name: wanted[name] for name in changed}
        connection.execute(update(table).where(table.c.id == row["id"]).values(values))
    return changed


def read_rows(runtime: Runtime, query: Executable) -> list[dict[str, Any]]:
    """Return the rows of `query` as the operator may read them."""
    with runtime.database.transaction("operator") as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
