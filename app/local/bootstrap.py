"""Prepare a database for `sluice up`: apply the migrations, and create a demo tenant."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sqlalchemy import text

from app.local.emulated_accounts import EMULATED, TITLES
from app.local.spawn import write_private
from app.providers.credentials import API_KEY
from app.runtime.runtime import Runtime
from app.runtime.settings import Settings
from app.runtime.vault import new_encryption_key
from app.services.access.callers import new_credential
from app.services.tenants import providers, tenants
from app.services.tenants.changes import local_actor
from app.services.tenants.demo import ensure_demo_key, move_demo_tenant
from app.services.tenants.providers import NewProvider
from app.services.tenants.tenants import NewTenant
from models import new_id
from models.migrations import upgrade


@dataclass(frozen=True)
class DemoAccount:
    """A provider of the demo tenant at an emulator: its id, and what both sides know."""

    provider_id: str
    credentials: Mapping[str, str]
    api_key: str
    webhook_secret: str


@dataclass(frozen=True)
class DemoTenant:
    """The demo tenant's identifiers and plain keys, as SLUICE_HOME/demo.json (0600) keeps them.

    `accounts`: by adapter, its accounts at the emulators.
    """

    tenant_id: str
    key_id: str
    provider_id: str
    secret_key: str
    webhook_secret: str
    provider_api_key: str
    encryption_key: str
    accounts: Mapping[str, DemoAccount] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables by which the stack's processes know the demo tenant."""
        return {
            "SLUICE_ENCRYPTION_KEYS": self.encryption_key,
            "SLUICE_DEMO_TENANT_ID": self.tenant_id,
            "SLUICE_DEMO_KEY_ID": self.key_id,
        }


def prepare(settings: Settings) -> DemoTenant:
    """Migrate, then create or find the demo tenant of this home; idempotent after an interruption at any point."""
    upgrade(settings.required("owner_database_url"), settings.default_database_url, settings.login_urls)
    demo = _read_or_create(settings.home / "demo.json", settings)
    runtime = Runtime.from_settings(_as_operator(settings, demo.encryption_key), pool_size=1)
    try:
        _ensure(runtime, demo)
    finally:
        runtime.database.engine.dispose()
    return demo


def _as_operator(settings: Settings, encryption_key: str) -> Settings:
    url = settings.login_urls.get("operator", settings.default_database_url)
    return replace(settings, process_type="operator", database_url=url, encryption_keys=(encryption_key,))


def _read_or_create(path: Path, settings: Settings) -> DemoTenant:
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        accounts = {adapter: DemoAccount(**each) for adapter, each in content.pop("accounts", {}).items()}
        demo = DemoTenant(**content, accounts=accounts)
    else:
        demo = DemoTenant(
            tenant_id=str(new_id()),
            key_id=str(new_id()),
            provider_id=str(new_id()),
            secret_key=new_credential("sk").plain,
            webhook_secret=providers.new_webhook_secret(),
            provider_api_key="sbk_" + secrets.token_urlsafe(24),
            encryption_key=settings.encryption_keys[0] if settings.encryption_keys else new_encryption_key(),
        )
    # A home of an earlier release has none, or not all.
    missing = [adapter for adapter in EMULATED if adapter not in demo.accounts]
    if missing:
        demo = replace(demo, accounts={**demo.accounts, **{adapter: _open_account(adapter) for adapter in missing}})
        # Written before the rows: an interrupted start is resumed with the same keys.
        write_private(path, json.dumps(asdict(demo), indent=2) + "\n")
    return demo


def _open_account(adapter: str) -> DemoAccount:
    new = EMULATED[adapter]()
    return DemoAccount(str(new_id()), new.credentials, new.api_key, new.secret)


def _ensure(runtime: Runtime, demo: DemoTenant) -> None:
    settings = runtime.settings
    tenant_id, provider_id = uuid.UUID(demo.tenant_id), uuid.UUID(demo.provider_id)
    with runtime.database.transaction("operator") as connection:
        known = connection.execute(text("select id from tenants where id = :id"), {"id": tenant_id}).scalar()
        of_tenant = text("select id::text from payment_providers where tenant_id = :id")
        present = set(connection.execute(of_tenant, {"id": tenant_id}).scalars())
    if known is None:
        # Several homes may share a database; each has a demo tenant of its own.
        new_tenant = NewTenant(f"demo {tenant_id.hex[-8:]}", requests_per_second=None, id=tenant_id)
        tenants.create_tenant(runtime, new_tenant, local_actor())
    # Workers reach the sandbox directly, whatever address browsers use.
    sandbox_url = settings.local_url(settings.sandbox_port)
    for new in _list_providers(demo, sandbox_url):
        if str(new.id) not in present:
            providers.create_provider(runtime, new, local_actor())
    emulated_ids = [uuid.UUID(account.provider_id) for account in demo.accounts.values()]
    with runtime.database.transaction("operator") as connection:
        ensure_demo_key(connection, tenant_id, uuid.UUID(demo.key_id), demo.secret_key)
        move_demo_tenant(connection, tenant_id, provider_id, emulated_ids, settings.public_url, sandbox_url)


def _list_providers(demo: DemoTenant, sandbox_url: str) -> list[NewProvider]:
    """Return the demo tenant's providers: the sandbox, which becomes the default, and one at each emulator."""
    tenant_id, credentials = uuid.UUID(demo.tenant_id), {API_KEY: demo.provider_api_key}
    sandbox_id = uuid.UUID(demo.provider_id)
    default = NewProvider(tenant_id, "sandbox", "sandbox", sandbox_url, credentials, demo.webhook_secret, id=sandbox_id)
    emulated = (
        NewProvider(
            tenant_id,
            f"{TITLES[adapter]} emulator",
            adapter,
            f"{sandbox_url}/{adapter}",
            account.credentials,
            account.webhook_secret,
            id=uuid.UUID(account.provider_id),
            client_selectable=True,
        )
        for adapter, account in demo.accounts.items()
    )
    return [default, *emulated]
