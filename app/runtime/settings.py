"""Settings, read from the environment in one place."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.core.validation.addresses import url_host
from app.runtime.redis_urls import check_url
from models.database_urls import parse_url
from models.logins import LOGIN_ROLES

# The variable with the login of each process type; one that is not set falls back to DATABASE_URL.
LOGIN_VARIABLES = {name: f"DATABASE_{name.upper()}_URL" for name in LOGIN_ROLES}

_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+:[0-9]+", re.ASCII)


class SettingsError(ValueError):
    """An environment variable is missing or cannot be used."""


def _url(env: Mapping[str, str], name: str, check: Callable[[str], object]) -> str | None:
    url = env.get(name, "").strip()
    try:
        if url:
            check(url)
    except ValueError as error:
        # The value is not repeated: it may hold a password.
        raise SettingsError(f"{name} {error}") from None
    return url or None


def _text(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name) or None


def _base_url(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name, "").rstrip("/") or None


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    return _integer(env, name, int(default)) > 0


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


def _ports(env: Mapping[str, str], name: str) -> tuple[int, ...]:
    words = _words(env, name)
    if not all(word.isascii() and word.isdigit() and int(word) <= 65_535 for word in words):
        raise SettingsError(f"{name} must be port numbers divided by commas")
    return tuple(map(int, words))


def _read(reader: Callable[..., Any], variable: str, *default: object) -> Any:
    """Declare a field that `reader` reads from one environment variable."""
    return dataclasses.field(metadata={"read": lambda env: reader(env, variable, *default)})


@dataclasses.dataclass(frozen=True)
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
    public_url: str
    sandbox_public_url: str
    flower_port: int = _read(_integer, "SLUICE_FLOWER_PORT", 5555)
    sockets_port: int | None = _read(_optional_integer, "SLUICE_SOCKETS_PORT")
    sockets_public_url: str | None = _read(_base_url, "SLUICE_SOCKETS_PUBLIC_URL")
    metrics_port: int | None = _read(_optional_integer, "SLUICE_METRICS_PORT")
    metrics_token: str | None = _read(_text, "SLUICE_METRICS_TOKEN")
    flower_auth: str | None = _read(_credentials, "SLUICE_FLOWER_AUTH")
    encryption_keys: tuple[str, ...] = _read(_words, "SLUICE_ENCRYPTION_KEYS")
    trusted_proxies: int = _read(_integer, "TRUSTED_PROXIES", 0)
    private_providers: tuple[str, ...] = _read(_words, "SLUICE_PRIVATE_PROVIDERS")
    private_endpoints: tuple[str, ...] = _read(_words, "SLUICE_PRIVATE_ENDPOINTS")
    # Set by `sluice up` on loopback alone: endpoints of this machine may be called, but no port of the stack.
    stack_ports: tuple[int, ...] = _read(_ports, "SLUICE_STACK_PORTS")
    alert_url: str | None = _read(_text, "ALERT_URL")
    alert_secret: str | None = _read(_text, "ALERT_SECRET")
    seal_head_path: str | None = _read(_text, "SLUICE_SEAL_HEAD_PATH")
    demo_tenant_id: str | None = _read(_text, "SLUICE_DEMO_TENANT_ID")
    demo_key_id: str | None = _read(_text, "SLUICE_DEMO_KEY_ID")
    # One process answers about a thousand requests per second; more processes are the operator's choice.
    web_workers: int = _read(_integer, "SLUICE_WEB_WORKERS", 1)
    # Threads of one worker that wait for providers: a tenant alone gets half of them.
    provider_calls: int = _read(_integer, "SLUICE_PROVIDER_CALLS", 128)
    # Threads of one worker that wait for tenants' endpoints.
    delivery_calls: int = _read(_integer, "SLUICE_DELIVERY_CALLS", 128)
    # As long as the field keeps events; ended deliveries and their attempts are deleted after it.
    delivery_days: int = _read(_integer, "SLUICE_DELIVERY_DAYS", 30)
    # Longer than a balancer takes to see that a process is not ready; the stack of one machine has none.
    drain_seconds: int = _read(_integer, "SLUICE_DRAIN_SECONDS", 1)
    prepares_statements: bool = _read(_flag, "SLUICE_PREPARED_STATEMENTS", True)

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
        default_database_url = _url(env, "DATABASE_URL", parse_url)
        login_urls = {name: url for name, key in LOGIN_VARIABLES.items() if (url := _url(env, key, parse_url))}
        redis_url = _url(env, "REDIS_URL", functools.partial(check_url, may_be_amqp=False))
        return cls(
            home=Path(env.get("SLUICE_HOME", ".sluice")).absolute(),
            process_type=process_type,
            database_url=login_urls.get(process_type or "", default_database_url),
            default_database_url=default_database_url,
            login_urls=login_urls,
            owner_database_url=_url(env, "DATABASE_OWNER_URL", parse_url) or default_database_url,
            redis_url=redis_url,
            broker_url=_url(env, "BROKER_URL", functools.partial(check_url, may_be_amqp=True)) or redis_url,
            bind=bind,
            port=port,
            sandbox_port=sandbox_port,
            public_url=env.get("SLUICE_PUBLIC_URL", f"http://{host}:{port}").rstrip("/"),
            sandbox_public_url=env.get("SLUICE_SANDBOX_PUBLIC_URL", f"http://{host}:{sandbox_port}").rstrip("/"),
            **{one.name: one.metadata["read"](env) for one in dataclasses.fields(cls) if one.metadata},
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


def drop_service_addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that Kubernetes makes from the names of Services.

    A Service `sluice` makes SLUICE_PORT=tcp://10.0.0.1:8000, which is an address and not this process's port. Such a
    variable counts as not set.
    """
    return {name: value for name, value in environment.items() if not _SERVICE_ADDRESS.fullmatch(value)}
