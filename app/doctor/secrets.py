"""Check stored secrets and what is exposed to others; never print a secret."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.core.signatures import decode_secret
from app.doctor.finding import Finding, expect, fail, is_loopback, ok, warn
from app.runtime.runtime import Runtime
from app.runtime.settings import Settings
from app.runtime.vault import Vault, VaultError, fingerprint
from app.services.tenants import process_keys

SECRET_DAYS_MAX = 365  # Auditors of payment systems accept a year.
FILES = ("run.json", "demo.json")  # The ones in SLUICE_HOME that hold keys.
OTHERS = 0o077  # The permission bits of everybody but the owner.

_ENCRYPTED = text(
    """
    select id, name, 'credentials' as what, credentials_encrypted as secret from payment_providers
    union all
    select p.id, p.name, 'webhook secret', s.secret_encrypted
    from provider_secrets s join payment_providers p on p.tenant_id = s.tenant_id and p.id = s.provider_id
    where s.ends_at is null or s.ends_at > now()
    union all
    select p.id, p.name, 'token of the URL for pokes', t.token_encrypted
    from poke_tokens t join payment_providers p on p.tenant_id = t.tenant_id and p.id = t.provider_id
    union all
    select e.id, e.url, 'secret of webhook endpoint', s.secret_encrypted
    from endpoint_secrets s join webhook_endpoints e on e.tenant_id = s.tenant_id and e.id = s.endpoint_id
    where s.ends_at is null or s.ends_at > now()
    union all
    -- Deposits that are not at their provider yet; one key has encrypted most of them.
    (select d.payment_id, 'payment ' || d.payment_id, 'payer''s details', d.details_encrypted
     from payment_details d join payment_work w on w.tenant_id = d.tenant_id and w.payment_id = d.payment_id
     where w.action = 'create' order by w.due_at limit 100)
    """
)
_AGES = text(
    """
    select p.id, p.name, max(extract(epoch from now() - s.created_at)) / 86400 as days
    from payment_providers p left join provider_secrets s
      on s.tenant_id = p.tenant_id and s.provider_id = p.id and (s.ends_at is null or s.ends_at > now())
    where p.disabled_at is null group by p.id, p.name
    """
)


def examine_secrets(runtime: Runtime) -> Iterator[Finding]:
    """Yield findings about stored secrets. Raise SQLAlchemyError where the database cannot be reached."""
    with runtime.database.transaction("operator") as connection:
        encrypted = [dict(row) for row in connection.execute(_ENCRYPTED).mappings()]
        ages = connection.execute(_AGES).all()
    yield from _examine_keys(runtime.settings.encryption_keys, encrypted)
    yield from _examine_processes(runtime, encrypted)
    without = [f"{row.name} ({row.id})" for row in ages if row.days is None]
    if without:
        yield fail("Webhook secrets", f"none is valid for {', '.join(without)}: run `sluice providers rotate-secret`")
    old = [f"{row.name} ({row.id}, {row.days:.0f} days)" for row in ages if (row.days or 0) > SECRET_DAYS_MAX]
    if old:
        yield warn("Webhook secrets", f"older than a year: {', '.join(old)}; run `sluice providers rotate-secret`")
    if not without and not old:
        yield ok("Webhook secrets", f"{len(ages)} providers, each with one that is valid and younger than a year")


def _examine_keys(keys: tuple[str, ...], encrypted: list[dict[str, Any]]) -> Iterator[Finding]:
    if not keys:
        yield fail("Encryption keys", "SLUICE_ENCRYPTION_KEYS is not set: no webhook can be verified")
        return
    try:
        newest, every = Vault(keys[:1]), Vault(keys)
    except ValueError:
        yield fail("Encryption keys", "SLUICE_ENCRYPTION_KEYS has an invalid key: each is 32 bytes in URL-safe base64")
        return
    unreadable = [f"{row['what']} of {row['name']}" for row in encrypted if not _reads(every, row["secret"])]
    if unreadable:
        yield fail("Encryption keys", f"none decrypts the {', the '.join(unreadable)}: add the key that encrypted it")
        return
    older = sum(not _reads(newest, row["secret"]) for row in encrypted)
    kept = f"; {older} of them only with an older key: keep it" if older else ""
    yield ok("Encryption keys", f"{len(encrypted)} stored secrets can be decrypted{kept}")


def _examine_processes(runtime: Runtime, encrypted: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield the running processes that lack a key which a stored secret needs."""
    keys = runtime.settings.encryption_keys
    vaults = {fingerprint(key): Vault([key]) for key in keys if _is_key(key)}
    needed = {name for name, vault in vaults.items() for row in encrypted if _reads(vault, row["secret"])}
    processes = process_keys.read_processes(runtime)
    lacking = [one.process for one in processes if not needed <= set(one.fingerprints)]
    if processes:
        complete = f"{len(processes)} running processes have those that stored secrets need"
        incomplete = f"{', '.join(lacking)} lack one that stored secrets need: restart them with all keys"
        yield expect("Encryption keys", not lacking, complete, incomplete)


def _is_key(key: str) -> bool:
    try:
        Vault([key])
    except ValueError:
        return False
    return True


def _reads(vault: Vault, secret: bytes) -> bool:
    try:
        vault.decrypt(secret)
    except VaultError:
        return False
    return True


def examine_exposure(settings: Settings) -> Iterator[Finding]:
    """Yield findings about access, TLS, signed alarms and file permissions."""
    public = urllib.parse.urlsplit(settings.public_url)
    is_private = public.scheme == "https" or is_loopback(public.hostname)
    unencrypted = f"{settings.public_url} is not https: keys and tokens are sent unencrypted"
    yield expect("Public URL", is_private, settings.public_url, unencrypted, warn)
    if public.scheme == "https" and settings.trusted_proxies == 0:
        yield warn(
            "Proxies", "a proxy terminates TLS, but TRUSTED_PROXIES is 0: every caller appears with the proxy's address"
        )
    if is_loopback(settings.bind):
        yield ok("Listening", f"on {settings.bind} only")
    else:
        yield from _examine_tools(settings)
    yield from _examine_alerts(settings)
    yield _examine_files(settings.home)


def _examine_tools(settings: Settings) -> Iterator[Finding]:
    bind = f"SLUICE_BIND is {settings.bind} and"
    unread = f"{bind} SLUICE_METRICS_TOKEN is not set: only this machine can read them"
    yield expect("Metrics", settings.metrics_token, "require the token", unread, warn)
    unsafe = f"{bind} SLUICE_FLOWER_AUTH is not set, and Flower can stop workers"
    yield expect("Flower", settings.flower_auth, "requires a password", unsafe, warn)


def _examine_alerts(settings: Settings) -> Iterator[Finding]:
    if not settings.alert_url:
        yield warn("ALERT_URL", "not set: alarms are only rows, metrics and log lines, and not sent to anyone")
        return
    url = urllib.parse.urlsplit(settings.alert_url)
    if url.scheme != "https" and not is_loopback(url.hostname):
        yield warn("ALERT_URL", "is not https: alarms are sent unencrypted")
    elif not settings.alert_secret:
        yield warn("ALERT_URL", "ALERT_SECRET is not set: the receiver cannot recognize forged alarms")
    else:
        yield _examine_alert_secret(settings.alert_secret)


def _examine_alert_secret(secret: str) -> Finding:
    try:
        decode_secret(secret)
    except ValueError as error:
        return fail("ALERT_URL", f"ALERT_SECRET cannot be used: {error}")
    return ok("ALERT_URL", "set, and alarms are signed")


def _examine_files(home: Path) -> Finding:
    readable = [name for name in FILES if (home / name).exists() and (home / name).stat().st_mode & OTHERS]
    open_to_all = f"{', '.join(readable)} in {home} can be read by other users: chmod 600"
    return expect("Files", not readable, f"no secret in {home} can be read by other users", open_to_all)
