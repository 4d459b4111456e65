"""What changes of the configuration share: their error, their names, their audit."""

from __future__ import annotations

import os
import re
import socket
import uuid
from typing import Any

from sqlalchemy import Connection, text

from app.runtime.runtime import Runtime
from app.services.records import audit
from app.services.records.audit import AuditRow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", re.ASCII)


class ConfigurationError(ValueError):
    """What the operator asked for cannot be configured."""


def check_name(name: str) -> None:
    """Raise ConfigurationError unless `name` can name a tenant or a provider."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError("a name has 1 to 64 letters, digits, blanks and ._-")


def local_actor() -> str:
    """Return `uid:<number>@<host>`, the audit's actor for a command that runs on this machine.

    Both come from the kernel. LOGNAME and USER are environment variables, which every user can set to another name.
    """
    return f"uid:{os.getuid()}@{socket.gethostname()}"


def name_reason(reason: str | None) -> dict[str, str]:
    """Return an operator's reason as audit rows name it, beside the `reason` of the row that it is about."""
    return {} if reason is None else {"operator_reason": reason}


def write_audit(connection: Connection, tenant_id: uuid.UUID, actor: str, kind: str, detail: dict[str, Any]) -> None:
    """Write the change into the audit, in the change's own transaction."""
    audit.write(connection, [AuditRow(tenant_id, actor, kind, detail)])


def read_rows(runtime: Runtime, query: str, **parameters: object) -> list[dict[str, Any]]:
    """Return what `query` gives to the operator."""
    with runtime.database.transaction("operator") as connection:
        return [dict(row) for row in connection.execute(text(query), parameters).mappings()]
