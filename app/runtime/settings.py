"""Settings, read from the environment in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core.validation.addresses import url_host
from app.runtime.redis_urls import check_url
from models.database_urls import DatabaseUrlError, parse_url
from models.logins import LOGIN_ROLES

# Which variable names the login of a process type; what is not set falls back to DATABASE_URL.
LOGIN_VARIABLES = {name: f"DATABASE_{name.upper()}_URL" for name in LOGIN_ROLES}

_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+:[0-9]+", re.ASCII)


class SettingsError(ValueError):
    """An environment variable is missing or cannot be used."""


@dataclass(frozen=True)
class Settings:
    """All of Sluice's settings; one field per environment variable (docs/OPERATIONS.md, "Settings").

    URLs are without a trailing slash. Ports are None where any free one will do. `database_url` is the login of this
    process (`process_type`, as in DATABASE_<TYPE>_URL), `login_urls` those that are set for any process type.
    """

    home: Path
    process_type: str | None
    database_url: str | None
    default_database_url: str | None
    login_urls: Mapping[str, str]
    owner_database_url: str | None
    redis_url: str | None
    broker_url: str | None
    bind: str
    port: int
    sandbox_port: int
    flower_port: int
    sockets_port: int | None
    public_url: str
    sockets_public_url: str | None
    sandbox_public_url: str
    metrics_port: int | None
    metrics_token: str | None
    flower_auth: str | None
    encryption_keys: tuple[str, ...]
    trusted_proxies: int
    private_providers: tuple[str, ...]
    alert_url: str | None
    alert_secret: str | None
    seal_head_path: str | None
    demo_tenant_id: str | None
    demo_key_id: str | None
    web_workers: int
    drain_seconds: int
    prepares_statements: bool
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings. Raise SettingsError naming the variable that cannot be used."""
        env = drop_service_addresses(os.environ if environment is None else environment)
        bind = env.get("SLUICE_BIND", "127.0.0.1").strip("[]")
        # Browsers cannot go to 0.0.0.0; without a public URL the loopback address is what they can reach.
        host = "127.0.0.1" if bind in ("0.0.0.0", "::") else url_host(bind)  # noqa: S104  # nosec B104
        port = _integer(env, "SLUICE_PORT", 8000)
        sandbox_port = _integer(env, "SLUICE_SANDBOX_PORT", 8001)
        process_type = find_process_type(env.get("SLUICE_PROCESS", ""))
        default_database_url = _database_url(env, "DATABASE_URL")
        login_urls = {name: url for name, key in LOGIN_VARIABLES.items() if (url := _database_url(env, key))}
        redis_url = _redis_url(env, "REDIS_URL")
        broker_url = _redis_url(env, "BROKER_URL") or redis_url
        return cls(
            home=Path(env.get("SLUICE_HOME", ".sluice")).absolute(),
            process_type=process_type,
            database_url=login_urls.get(process_type or "", default_database_url),
            default_database_url=default_database_url,
            login_urls=login_urls,
            owner_database_url=_database_url(env, "DATABASE_OWNER_URL") or default_database_url,
            redis_url=redis_url,
            broker_url=broker_url,
            bind=bind,
            port=port,
            sandbox_port=sandbox_port,
            flower_port=_integer(env, "SLUICE_FLOWER_PORT", 5555),
            sockets_port=_optional_integer(env, "SLUICE_SOCKETS_PORT"),
            public_url=env.get("SLUICE_PUBLIC_URL", f"http://{host}:{port}").rstrip("/"),
            sockets_public_url=(env.get("SLUICE_SOCKETS_PUBLIC_URL") or "").rstrip("/") or None,
            sandbox_public_url=env.get("SLUICE_SANDBOX_PUBLIC_URL", f"http://{host}:{sandbox_port}").rstrip("/"),
            metrics_port=_optional_integer(env, "SLUICE_METRICS_PORT"),
            metrics_token=env.get("SLUICE_METRICS_TOKEN") or None,
            flower_auth=_credentials(env, "SLUICE_FLOWER_AUTH"),
            encryption_keys=_words(env, "SLUICE_ENCRYPTION_KEYS"),
            trusted_proxies=_integer(env, "TRUSTED_PROXIES", 0),
            private_providers=_words(env, "SLUICE_PRIVATE_PROVIDERS"),
            alert_url=env.get("ALERT_URL") or None,
            alert_secret=env.get("ALERT_SECRET") or None,
            seal_head_path=env.get("SLUICE_SEAL_HEAD_PATH") or None,
            demo_tenant_id=env.get("SLUICE_DEMO_TENANT_ID") or None,
            demo_key_id=env.get("SLUICE_DEMO_KEY_ID") or None,
            # One process answers about a thousand requests per second; more processes are the operator's choice.
            web_workers=_integer(env, "SLUICE_WEB_WORKERS", 1),
            # Longer than a balancer takes to see that a process is not ready; the stack of one machine has none.
            drain_seconds=_integer(env, "SLUICE_DRAIN_SECONDS", 1),
            prepares_statements=_integer(env, "SLUICE_PREPARED_STATEMENTS", 1) > 0,
            log_level=env.get("SLUICE_LOG_LEVEL", "INFO").upper(),
        )

    def local_url(self, port: int) -> str:
        """Return how processes of this machine reach a port of the stack, whatever address browsers use."""
        any_address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # nosec B104
        return f"http://{any_address.get(self.bind) or url_host(self.bind)}:{port}"

    @property
    def is_demo(self) -> bool:
        """Whether `sluice up` made a demo tenant and the demo page may mint tokens for it."""
        return self.demo_tenant_id is not None and self.demo_key_id is not None

    def required(self, name: str) -> str:
        """Return the text field `name`. Raise SettingsError where it is not set."""
        value = getattr(self, name)
        if not value:
            raise SettingsError(f"{self._variable(name)} is not set")
        return str(value)

    def _variable(self, name: str) -> str:
        if name == "owner_database_url":
            return "DATABASE_OWNER_URL"
        own = LOGIN_VARIABLES.get(self.process_type or "") if name == "database_url" else None
        return f"{own} or {name.upper()}" if own else name.upper()


def find_process_type(process: str) -> str | None:
    """Return the type, as in DATABASE_<TYPE>_URL, of the process called `process`; None where it has none."""
    name = process.removeprefix("worker-")
    return name if name in LOGIN_ROLES else None


def _database_url(env: Mapping[str, str], name: str) -> str | None:
    url = env.get(name, "").strip()
    if not url:
        return None
    try:
        parse_url(url)
    except DatabaseUrlError as error:
        raise SettingsError(f"{name} {error}") from None
    return url


def drop_service_addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that Kubernetes makes from the names of Services.

    A Service `sluice` makes SLUICE_PORT=tcp://10.0.0.1:8000, which is an address and not this process's port. Such a
    variable counts as not set.
    """
    return {name: value for name, value in environment.items() if not _SERVICE_ADDRESS.fullmatch(value)}


def _redis_url(env: Mapping[str, str], name: str) -> str | None:
    url = env.get(name, "").strip()
    if not url:
        return None
    try:
        check_url(url, may_be_amqp=name == "BROKER_URL")
    except ValueError as error:
        # The value is not repeated: it may hold a password.
        raise SettingsError(f"{name} {error}") from None
    return url


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    value = _optional_integer(env, name)
    return default if value is None else value


def _optional_integer(env: Mapping[str, str], name: str) -> int | None:
    raw = env.get(name, "").strip()
    if not raw:
        return None
    if not raw.isascii() or not raw.isdigit() or int(raw) > 65_535:
        raise SettingsError(f"{name} must be a whole number from 0 to 65535, not {raw!r}")
    return int(raw)


def _credentials(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip()
    pairs = [pair.partition(":") for pair in value.split(",")]
    if value and not all(user and password for user, _, password in pairs):
        # The value is not repeated: it holds a password.
        raise SettingsError(f"{name} must be user:password, several divided by commas")
    return value or None


def _words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in env.get(name, "").split(",") if word.strip())
