"""A tenant's providers, as the operator manages them. Every change is audited."""

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import ProviderUnusable
from app.core.money import CURRENCY_DIGITS
from app.core.signatures import HMAC_HEX, SCHEMES, STANDARD, Scheme, encode_secret
from app.providers import Account, Adapter, poke_urls
from app.providers.calls.addresses import AddressRefused
from app.providers.calls.outgoing import check_url
from app.providers.connectable import SignsWithCredential
from app.providers.credentials import check_credentials, encode_credentials
from app.runtime.runtime import Runtime
from app.services.tenants import poke_tokens
from app.services.tenants.changes import (
    ConfigurationError,
    change_one,
    check_name,
    name_reason,
    read_rows,
    write_audit,
)
from models import new_id, tables
from models.sql import columns

# Standard Webhooks requires 24 to 64 bytes, CONTRACT section 4 requires 32.
WEBHOOK_SECRET_BYTES = 32

# No underscores: servers drop headers that have them.
# The adapter of a payment app of the tenant's own.
OWN_APP = "custom"
# Adapters whose webhooks may have the common body, on the paths for it (CONTRACT section 4).
COMMON_FORM = ("sandbox", OWN_APP)

_HEADER = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewProvider:
    """A provider to be made for a tenant; without a `webhook_secret` one is generated.

    So is a `poke_token`, where its adapter takes notifications that nobody signs.
    """

    tenant_id: uuid.UUID
    name: str
    adapter: str
    # None: that of its adapter.
    api_base_url: str | None
    credentials: Mapping[str, str] = field(repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    ip_allowlist: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    is_default: bool = False
    id: uuid.UUID | None = None
    webhook_scheme: str = STANDARD
    signature_header: str | None = None
    id_field: str | None = None
    poke_token: str | None = field(default=None, repr=False)
    client_selectable: bool = False


def new_webhook_secret() -> str:
    """Return a new webhook secret, `whsec_` and base64 of 32 random bytes."""
    return encode_secret(secrets.token_bytes(WEBHOOK_SECRET_BYTES))


def _check_provider(runtime: Runtime, new: NewProvider) -> Adapter:
    check_name(new.name)
    adapter = find_adapter(runtime, new.adapter)
    check_networks(new.ip_allowlist)
    try:
        check_credentials(adapter.credentials, new.credentials)
        if new.webhook_secret is not None:
            adapter.check_secret(Scheme(new.webhook_scheme), new.webhook_secret)
        _check_scheme(new)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return adapter


def find_adapter(runtime: Runtime, name: str) -> Adapter:
    """Return an adapter by name. Raise ConfigurationError where none is installed, or it cannot be used."""
    try:
        return runtime.find_adapter(name)
    except ProviderUnusable as error:
        raise ConfigurationError(f"{error}; there are {', '.join(runtime.adapters)}") from None


def check_provider_url(runtime: Runtime, url: str) -> None:
    """Raise ConfigurationError unless `url` may be called."""
    try:
        check_url(url, frozenset(runtime.settings.private_providers))
    except AddressRefused as error:
        raise ConfigurationError(str(error)) from None


def _choose_url(runtime: Runtime, adapter: Adapter, given: str | None, mode: str) -> str:
    """Return the URL to call: `given`, or else the adapter's own. Raise ConfigurationError."""
    url = given or adapter.base_urls.get(mode)
    if url is None:
        raise ConfigurationError(f"this adapter has no URL of its own for {mode} payments: name one with --url")
    check_provider_url(runtime, url)
    return url.rstrip("/")


def check_networks(networks: tuple[str, ...]) -> None:
    """Raise ConfigurationError unless all are addresses or networks."""
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None


def choose_currencies(adapter: Adapter, wanted: tuple[str, ...]) -> list[str] | None:
    """Return the currencies that a provider takes: those `wanted`, without any its adapter's, None where these are all.

    Raise ConfigurationError for one that its adapter does not know.
    """
    known = adapter.capabilities.amounts.currencies
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ConfigurationError(f"no currency that the provider takes: {', '.join(unknown)}")
    return list(wanted) or (None if known == CURRENCY_DIGITS.keys() else sorted(known))


def check_mode(name: str, adapter: Adapter, account: Account, mode: str) -> None:
    """Raise ConfigurationError where the account at the provider takes payments of the other mode than the tenant.

    Live payments are asked for over https alone, since emulators have plain http; an app of the tenant's own may have
    it too.
    """
    told = adapter.read_mode(account)
    if told not in (None, mode):
        raise ConfigurationError(f"this account is for {told} payments, and the tenant takes {mode} payments")
    if mode == "live" and name != OWN_APP and not account.api_base_url.lower().startswith("https://"):
        raise ConfigurationError("live payments need an https URL: emulators are for tenants that take test payments")


def _check_scheme(new: NewProvider) -> None:
    if new.webhook_scheme not in SCHEMES:
        raise ValueError(f"a webhook scheme is one of {', '.join(SCHEMES)}")
    if new.webhook_scheme != HMAC_HEX and (new.signature_header or new.id_field):
        raise ValueError(f"a signature header and an id field belong to the scheme {HMAC_HEX}")
    header = (new.signature_header or "x-signature").lower()
    if not _HEADER.fullmatch(header) or header in ("authorization", "cookie"):
        raise ValueError("a signature header is a header's name: letters, digits and hyphens")


def create_provider(runtime: Runtime, new: NewProvider, actor: str) -> tuple[uuid.UUID, str]:
    """Make a provider; return its id and the webhook secret to enter there, an empty one where none has to be.

    Raise ConfigurationError.
    """
    adapter = _check_provider(runtime, new)
    providers, tenants = tables.payment_providers, tables.tenants
    provider_id = new.id or new_id()
    secret = _choose_secret(adapter, new)
    with runtime.database.transaction("operator") as connection:
        mode = connection.execute(select(tenants.c.mode).where(tenants.c.id == new.tenant_id)).scalar_one()
        url = _choose_url(runtime, adapter, new.api_base_url, mode)
        check_mode(new.adapter, adapter, Account(provider_id, url, new.credentials), mode)
        made = connection.execute(
            insert(providers)
            .values(
                id=provider_id,
                tenant_id=new.tenant_id,
                mode=mode,
                name=new.name,
                adapter=new.adapter,
                api_base_url=url,
                credentials_encrypted=runtime.vault.encrypt(encode_credentials(new.credentials)),
                ip_allowlist=list(new.ip_allowlist),
                currencies=choose_currencies(adapter, new.currencies),
                webhook_scheme=new.webhook_scheme,
                signature_header=new.signature_header and new.signature_header.lower(),
                id_field=new.id_field,
                client_selectable=new.client_selectable,
            )
            .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
            .returning(providers.c.id)
        ).scalar()
        if made is None:
            raise ConfigurationError(f"the tenant has a provider {new.name!r} already")
        if secret:
            insert_secret(runtime, connection, new.tenant_id, provider_id, secret)
        if adapter.poke_types:
            token = new.poke_token or poke_urls.new_token()
            poke_tokens.insert_token(runtime, connection, new.tenant_id, provider_id, token)
        is_wanted = true() if new.is_default else tenants.c.default_provider_id.is_(None)
        makes_default = update(tenants).where(tenants.c.id == new.tenant_id, is_wanted)
        connection.execute(makes_default.values(default_provider_id=provider_id))
        detail = {"provider_id": str(provider_id), "name": new.name, "adapter": new.adapter, "url": url}
        write_audit(connection, new.tenant_id, actor, "provider_created", detail)
    return provider_id, "" if isinstance(adapter, SignsWithCredential) else secret


def _choose_secret(adapter: Adapter, new: NewProvider) -> str:
    """Return the webhook secret: one of the credentials where that signs, else the given or a new one.

    A new one that does not have the form of those that the provider makes itself is left out: an empty text. Raise
    ConfigurationError for a given one in place of the credential.
    """
    if isinstance(adapter, SignsWithCredential):
        secret = new.credentials[adapter.secret_credential]
        if new.webhook_secret not in (None, secret):
            raise ConfigurationError(f"its webhooks are signed with {adapter.secret_credential}: name no other secret")
        return secret
    secret = new.webhook_secret or new_webhook_secret()
    try:
        adapter.check_secret(Scheme(new.webhook_scheme), secret)
    except ValueError:
        return ""
    return secret


def insert_secret(
    runtime: Runtime,
    connection: Connection,
    tenant_id: uuid.UUID,
    provider_id: uuid.UUID,
    secret: str,
    registration: str | None = None,
) -> uuid.UUID:
    """Store a webhook secret without an end; return its id."""
    secret_id = new_id()
    values = {"id": secret_id, "tenant_id": tenant_id, "provider_id": provider_id, "registration": registration}
    encrypted = runtime.vault.encrypt(secret)
    connection.execute(insert(tables.provider_secrets).values(**values, secret_encrypted=encrypted))
    return secret_id


def list_providers(runtime: Runtime, tenant_id: uuid.UUID | None) -> list[dict[str, Any]]:
    """Return the providers of one tenant or of all, never their secrets."""
    providers, tenants, webhook_secrets = tables.payment_providers, tables.tenants, tables.provider_secrets
    is_active = or_(webhook_secrets.c.ends_at.is_(None), webhook_secrets.c.ends_at > func.now())
    actives = select(func.count()).where(webhook_secrets.c.provider_id == providers.c.id, is_active).scalar_subquery()
    names = (
        "id",
        "tenant_id",
        "name",
        "mode",
        "adapter",
        "api_base_url",
        "webhook_scheme",
        "ip_allowlist",
        "currencies",
        "client_selectable",
    )
    query = select(
        *columns(providers, *names, "calls_max", "attempts_max"),
        (providers.c.id == tenants.c.default_provider_id).label("is_default"),
        *columns(providers, "created_at", "disabled_at"),
        actives.label("active_secrets"),
    ).join_from(providers, tenants, tenants.c.id == providers.c.tenant_id)
    is_wanted = true() if tenant_id is None else providers.c.tenant_id == tenant_id
    return read_rows(runtime, query.where(is_wanted).order_by(providers.c.created_at))


def disable_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str, reason: str | None = None) -> bool:
    """Stop new deposits with a provider; its payments are still polled and its webhooks still received.

    Return False where it was disabled before or is unknown.
    """
    providers = tables.payment_providers
    disabled = update(providers).where(providers.c.id == provider_id, providers.c.disabled_at.is_(None))
    statement = disabled.values(disabled_at=func.now()).returning(providers.c.tenant_id)
    detail = {"provider_id": str(provider_id), **name_reason(reason)}
    return change_one(runtime, statement, actor, "provider_disabled", detail)
