"""Report providers that cannot be used as they are configured, with one alarm for as long as that lasts."""

from __future__ import annotations

import threading
import uuid

import structlog
from cachetools import TTLCache
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import ProviderUnusable
from app.providers.credentials import decode_credentials
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from models import tables
from models.database import Role

log = structlog.get_logger(__name__)

# A provider's webhooks may come by the hundred: one problem is reported again at the earliest after this time.
REPORT_SECONDS = 10.0
# Problems that were reported within that time; one that is dropped is reported again earlier.
REPORTED_MAX = 10_000

# As many providers as watch_providers() lists, by the order of their ids.
WATCHED_MAX = 1_000

_REPORT = text("select report_provider(:provider_id, :problem)")
_UNUSABLE = text("select provider_id, tenant_id, problem from watch_providers()")

_lock = threading.Lock()
_reported: TTLCache[tuple[uuid.UUID, str], None] = TTLCache(REPORTED_MAX, REPORT_SECONDS)


def read_credentials(runtime: Runtime, encrypted: bytes) -> dict[str, str]:
    """Return our credentials at a provider by name. Raise ProviderUnusable where they cannot be read."""
    try:
        return decode_credentials(runtime.vault.decrypt(encrypted))
    except VaultError:
        raise ProviderUnusable("no key of SLUICE_ENCRYPTION_KEYS decrypts its credentials") from None
    except ValueError:
        raise ProviderUnusable("its credentials, or SLUICE_ENCRYPTION_KEYS, cannot be read") from None


def note(runtime: Runtime, provider_id: uuid.UUID, problem: str, role: Role = "worker") -> None:
    """Record that a provider cannot be used, in a transaction of its own. Raise nothing.

    Workers raise the alarm at once; housekeeping raises the alarms for reports of other processes.
    """
    key = (provider_id, problem)
    with _lock:
        if key in _reported:
            return
        _reported[key] = None
    log.error("provider_unusable", provider_id=str(provider_id), problem=problem)
    try:
        with runtime.database.transaction(role) as connection:
            connection.execute(_REPORT, {"provider_id": provider_id, "problem": problem})
        if role == "worker":
            raise_alarms(runtime)
    except SQLAlchemyError:
        # The next call or webhook reports it again.
        with _lock:
            _reported.pop(key, None)


def raise_alarms(runtime: Runtime) -> None:
    """Have an open alarm for each provider that is listed as unusable, and for no other. Raise SQLAlchemyError.

    Alarms of those beyond WATCHED_MAX stay as they are until fewer are listed.
    """
    with runtime.database.transaction("worker") as connection:
        rows = [
            AlertRow(
                "provider_unusable",
                row.tenant_id,
                {"provider_id": row.provider_id, "problem": row.problem},
                str(row.provider_id),
            )
            for row in connection.execute(_UNUSABLE)
        ]
        covered = []
        if len(rows) >= WATCHED_MAX:
            # Nothing is known of providers beyond the last one. In this collation the texts of ids are ordered as ids.
            covered.append(tables.alerts.c.subject.collate("C") <= max(str(row.subject) for row in rows))
        alerts.keep(connection, "provider_unusable", rows, "no process reports it any more", *covered)
