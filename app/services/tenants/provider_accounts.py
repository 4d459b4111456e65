"""Examines a provider's account as it is configured, and registers our address at the provider."""

from __future__ import annotations

import datetime
import email.utils
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import requests
from sqlalchemy import Row, select

from app.core.errors import ProviderCallFailed, ProviderRefusedUs, ProviderUnusable
from app.core.money import CURRENCY_DIGITS
from app.core.signatures import Scheme
from app.providers import Account, Adapter
from app.providers.calls.http_adapter import read_failure
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.connectable import Checkable, Connectable
from app.providers.credentials import CredentialError, check_credentials
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.payments.calls.provider_trouble import read_credentials
from app.services.tenants.changes import ConfigurationError, write_audit
from app.services.tenants.providers import find_adapter
from app.services.tenants.webhook_secrets import add_secret, find_registration, list_secrets
from models import tables
from models.sql import columns

# Signed times may differ by 300 s; a clock that is off by a fifth of it will soon be off by more.
CLOCK_SECONDS_MAX = 60.0
REACH_SECONDS = 10.0

State = Literal["ok", "FAIL", "skipped"]
_PROVIDERS = tables.payment_providers


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """The result of one check of a provider's account."""

    check: str
    state: State
    detail: str


def check_provider(runtime: Runtime, provider_id: uuid.UUID) -> Iterator[AccountCheck]:
    """Yield what was found about a provider's account. Raise ConfigurationError for an unknown provider."""
    row = _read(runtime, provider_id)
    adapter = find_adapter(runtime, row.adapter)
    answer: ProviderAnswer | None = None
    try:
        account = _open(runtime, adapter, row)
        answer = adapter.check_account(account) if isinstance(adapter, Checkable) else None
        yield _judge_credentials(answer)
    except (ConfigurationError, ProviderCallFailed) as error:
        yield AccountCheck("credentials", "FAIL", str(error))
    yield _judge_clock(answer)
    yield _reach_webhooks(runtime, provider_id, row.api_base_url)
    yield _judge_currencies(adapter, row.currencies)
    yield _judge_secrets(runtime, adapter, row)


def connect_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str) -> dict[str, Any]:
    """Register our address at the provider, and store the secret that it signs with.

    A repeated call keeps what is there. Return `{webhook_url, is_secret_stored, remaining}`. Raise ConfigurationError
    where the provider has no call for it, or refuses.
    """
    row = _read(runtime, provider_id)
    adapter = find_adapter(runtime, row.adapter)
    url = f"{runtime.settings.public_url}/webhooks/{provider_id}"
    if not isinstance(adapter, Connectable):
        raise ConfigurationError(f"{row.adapter} registers no address by its API: enter {url} by hand")
    account = _open(runtime, adapter, row)
    try:
        registered = adapter.register_webhooks(account, url, find_registration(runtime, provider_id))
    except ProviderCallFailed as error:
        rights = (
            f"; docs/providers/{row.adapter}.md has the rights of a key" if isinstance(error, ProviderRefusedUs) else ""
        )
        raise ConfigurationError(f"the address was not registered: {error}{rights}") from None
    if registered.secret is not None:
        add_secret(runtime, provider_id, registered.secret, actor, registered.id)
    with runtime.database.transaction("operator") as connection:
        about = {"provider_id": str(provider_id), "url": url, "registration": registered.id}
        write_audit(connection, row.tenant_id, actor, "provider_connected", about)
    return {
        "webhook_url": url,
        "is_secret_stored": True,
        "remaining": registered.remaining,
    }


def find_provider(runtime: Runtime, tenant_id: uuid.UUID | None, adapter: str) -> uuid.UUID:
    """Return the only provider of an adapter. Raise ConfigurationError where there is none, or there are several."""
    wanted = select(_PROVIDERS.c.id).where(_PROVIDERS.c.adapter == adapter)
    if tenant_id is not None:
        wanted = wanted.where(_PROVIDERS.c.tenant_id == tenant_id)
    with runtime.database.transaction("operator") as connection:
        ids = list(connection.execute(wanted).scalars())
    if len(ids) != 1:
        there = ", ".join(map(str, ids)) or "none: make it with `sluice providers create`"
        raise ConfigurationError(f"name the provider by its id; of {adapter} there is {there}")
    return uuid.UUID(str(ids[0]))


def _read(runtime: Runtime, provider_id: uuid.UUID) -> Row[Any]:
    names = ("id", "tenant_id", "adapter", "api_base_url", "credentials_encrypted", "currencies", "webhook_scheme")
    with runtime.database.transaction("operator") as connection:
        wanted = select(*columns(_PROVIDERS, *names)).where(_PROVIDERS.c.id == provider_id)
        row = connection.execute(wanted).first()
    if row is None:
        raise ConfigurationError(f"there is no provider {provider_id}")
    return row


def _open(runtime: Runtime, adapter: Adapter, row: Row[Any]) -> Account:
    try:
        credentials = read_credentials(runtime, row.credentials_encrypted)
        check_credentials(adapter.credentials, credentials)
    except (ProviderUnusable, CredentialError) as error:
        raise ConfigurationError(str(error)) from None
    return Account(row.id, row.api_base_url, credentials)


def _judge_credentials(answer: ProviderAnswer | None) -> AccountCheck:
    if answer is None:
        return AccountCheck("credentials", "skipped", "the adapter declares no call that would show it")
    if not 200 <= answer.status < 300:
        raise read_failure(answer)
    return AccountCheck("credentials", "ok", "the provider knows us")


def _judge_clock(answer: ProviderAnswer | None) -> AccountCheck:
    try:
        theirs = email.utils.parsedate_to_datetime((answer and answer.date) or "")
    except ValueError:
        return AccountCheck("clock", "skipped", "the provider did not say what time it is")
    theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=datetime.UTC)
    apart = abs((datetime.datetime.now(datetime.UTC) - theirs).total_seconds())
    said = f"{apart:.0f} s from the provider's"
    if apart > CLOCK_SECONDS_MAX:
        return AccountCheck("clock", "FAIL", f"{said}: its signed times will be refused; set this machine's clock")
    return AccountCheck("clock", "ok", said)


def _reach_webhooks(runtime: Runtime, provider_id: uuid.UUID, provider_url: str) -> AccountCheck:
    """Ask for our own address; Sluice answers that only POST is taken there."""
    url = f"{runtime.settings.public_url}/webhooks/{provider_id}"
    if not url.startswith("https:") and provider_url.startswith("https:"):
        return AccountCheck("webhook address", "FAIL", f"{url} is not https: set SLUICE_PUBLIC_URL")
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=REACH_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        problem = f"{url} does not answer: {type(error).__name__}"
        return AccountCheck("webhook address", "FAIL", problem)
    if answer.status_code != 405 or "problem+json" not in answer.headers.get("Content-Type", ""):
        return AccountCheck("webhook address", "FAIL", f"{url} is answered by something else ({answer.status_code})")
    host = urllib.parse.urlsplit(url).hostname
    return AccountCheck("webhook address", "ok", f"{url}, from this machine; {host} must be reachable from theirs too")


def _judge_currencies(adapter: Adapter, taken: list[str] | None) -> AccountCheck:
    known = adapter.capabilities.amounts.currencies
    unknown = sorted(set(taken or CURRENCY_DIGITS) - known)
    if unknown:
        said = f"the adapter does not know {', '.join(unknown)}: `sluice providers update ID --currency ...`"
        return AccountCheck("currencies", "FAIL", said)
    return AccountCheck("currencies", "ok", f"{len(taken or known)}, all of them known to the adapter")


def _judge_secrets(runtime: Runtime, adapter: Adapter, row: Row[Any]) -> AccountCheck:
    secrets = tables.provider_secrets
    active = [one["id"] for one in list_secrets(runtime, row.id) if one["is_active"]]
    with runtime.database.transaction("operator") as connection:
        stored = connection.execute(select(secrets.c.secret_encrypted).where(secrets.c.id.in_(active))).scalars().all()
    try:
        for encrypted in stored:
            adapter.check_secret(Scheme(row.webhook_scheme), runtime.vault.decrypt(encrypted))
    except (VaultError, ValueError) as error:
        return AccountCheck("webhook secret", "FAIL", f"one cannot be used: {error}")
    if not stored:
        said = "none is valid: `sluice providers connect`, or `secrets add`"
        return AccountCheck("webhook secret", "FAIL", said)
    return AccountCheck("webhook secret", "ok", f"{len(stored)} valid")
