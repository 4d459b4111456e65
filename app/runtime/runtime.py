"""The per-process container of settings, database, Redis, doorbells and vault."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.core.errors import ProviderUnusable
from app.providers import Adapter
from app.providers.calls.endpoint_posts import EndpointPosts
from app.providers.registry import Registry, load_registry
from app.runtime.broker.celery_app import celery_app
from app.runtime.doorbells import Doorbells
from app.runtime.metrics import count_pool
from app.runtime.redis_client import open_client
from app.runtime.settings import Settings
from app.runtime.vault import Vault
from models import Database
from models.database import POOL_SIZE
from models.logins import LOGIN_ROLES

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Runtime:
    """Dependencies of services. One per process; connections are opened on first use."""

    settings: Settings
    database: Database
    redis: Redis
    doorbells: Doorbells

    @functools.cached_property
    def vault(self) -> Vault:
        """The vault; built on first use, since only some processes have the encryption keys."""
        return Vault(self.settings.encryption_keys)

    @functools.cached_property
    def registry(self) -> Registry:
        """The adapters that are installed; one that cannot be used is logged, and its providers report it."""
        registry = load_registry(frozenset(self.settings.private_providers))
        for broken in registry.broken:
            log.error("adapter_unusable", adapter=broken.name, package=broken.package, problem=broken.problem)
        return registry

    @functools.cached_property
    def endpoint_posts(self) -> EndpointPosts:
        """What posts to tenants' webhook endpoints, and knows which URLs may be called."""
        settings = self.settings
        stack_ports = frozenset(settings.stack_ports) if settings.stack_ports else None
        return EndpointPosts(frozenset(settings.private_endpoints), stack_ports)

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The providers' adapters by name."""
        return self.registry.adapters

    def find_adapter(self, name: str | None) -> Adapter:
        """Return the adapter with this name. Raise ProviderUnusable where this process has none."""
        adapter = self.adapters.get(name or "")
        if adapter is None:
            raise ProviderUnusable(
                self.registry.find_problem(name or "") or f"its adapter {name!r} is not installed here"
            )
        return adapter

    @classmethod
    def from_settings(cls, settings: Settings, pool_size: int = POOL_SIZE) -> Runtime:
        """Build a runtime. Raise SettingsError where DATABASE_URL or REDIS_URL is missing."""
        redis = connect_redis(settings.required("redis_url"))
        database = open_database(settings, pool_size)
        count_pool(database.engine)
        return cls(settings, database, redis, Doorbells(redis, celery_app))


def open_database(settings: Settings, pool_size: int = POOL_SIZE, pool_timeout: float = 5.0) -> Database:
    """Return the database with this process type's login. Raise SettingsError where no URL is set."""
    login = LOGIN_ROLES.get(settings.process_type or "")
    return Database(
        settings.required("database_url"),
        pool_size,
        pool_timeout,
        prepares=settings.prepares_statements,
        instead=login.instead if login else None,
    )


def connect_redis(url: str) -> Redis:
    """Return a client for hints: timeouts of at most a second and one retry, since callers work without Redis."""
    return open_client(
        url, socket_timeout=1, socket_connect_timeout=0.5, health_check_interval=10, retry=Retry(NoBackoff(), 1)
    )


@functools.cache
def runtime() -> Runtime:
    """Return this process's runtime, built from the environment on first use."""
    return Runtime.from_settings(Settings.from_environment())
