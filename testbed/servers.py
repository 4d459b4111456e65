"""Starts PostgreSQL and Valkey for a test session, and makes separate databases on them."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from app.local.embedded import APP_ROLE, OWNER_ROLE, SUPERUSER, PostgresServer, ValkeyServer
from app.runtime.broker.urls import kombu_url
from app.runtime.doorbells import Doorbells
from app.runtime.runtime import Runtime, connect_redis
from app.runtime.settings import LOGIN_VARIABLES, Settings
from app.runtime.vault import new_encryption_key
from models import Database
from models.logins import LOGIN_ROLES
from models.migrations import upgrade
from testbed.superuser import Superuser

TEMPLATE = "sluice_template"
# For PostgreSQL in tests without a power failure, which is all that a sync protects from.
NO_SYNC = {"fsync": "off", "full_page_writes": "off"}
# No endpoint may be at this port.
STACK_PORT = 65_001
# Valkey has 16 databases; the first is left to clients that name none.
REDIS_DATABASES = range(1, 16)


@dataclass(frozen=True)
class Databases:
    """A migrated, empty database with the URLs of its three logins, and an empty Redis database."""

    name: str
    database_url: str
    owner_database_url: str
    superuser_url: str
    redis_url: str
    encryption_key: str
    folder: Path
    login_urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a process on these databases."""
        return {
            "DATABASE_URL": self.database_url,
            **{LOGIN_VARIABLES[name]: url for name, url in self.login_urls.items()},
            "DATABASE_OWNER_URL": self.owner_database_url,
            "REDIS_URL": self.redis_url,
            "BROKER_URL": self.redis_url,
            "SLUICE_HOME": str(self.folder),
            "SLUICE_ENCRYPTION_KEYS": self.encryption_key,
            # As `sluice up` on loopback does: the sandbox and the providers of tests are on this machine.
            "SLUICE_PRIVATE_PROVIDERS": "127.0.0.1,::1,localhost",
            # Webhook endpoints on this machine may be called; nothing listens at the port that stands for the stack's.
            "SLUICE_STACK_PORTS": str(STACK_PORT),
        }

    @contextlib.contextmanager
    def open_runtime(self, **environment: str) -> Iterator[Runtime]:
        """Open a runtime in this process; `environment` overrides the databases' own variables."""
        settings = Settings.from_environment(self.environment | environment)
        redis, celery = connect_redis(self.redis_url), new_celery(self.redis_url)
        runtime = Runtime(settings, Database(self.database_url, 20), redis, Doorbells(redis, celery))
        try:
            yield runtime
        finally:
            runtime.database.engine.dispose()
            redis.close()
            celery.close()

    @cached_property
    def superuser(self) -> Superuser:
        """The superuser of the PostgreSQL database."""
        return Superuser(self.superuser_url)

    def rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        """Run a statement of the superuser and return its rows; see Superuser.rows."""
        return self.superuser.rows(sql, **values)

    def value(self, sql: str, **values: object) -> Any:
        """Return the only value that a query of the superuser gives."""
        return self.superuser.value(sql, **values)


@dataclass
class Servers:
    """PostgreSQL with a migrated template database, and Valkey; hands out databases on them."""

    postgres: PostgresServer
    valkey: ValkeyServer
    folder: Path
    encryption_key: str = field(default_factory=new_encryption_key)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _redis_databases: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)

    @cached_property
    def _superuser(self) -> Superuser:
        return Superuser(self.postgres.url(SUPERUSER, "postgres"))

    def __post_init__(self) -> None:
        for number in REDIS_DATABASES:
            self._redis_databases.put(number)
        self.administer(f"create database {TEMPLATE} owner {OWNER_ROLE}")
        logins = {name: self.postgres.url(f"sluice_login_{name}", TEMPLATE) for name in LOGIN_ROLES}
        upgrade(self.postgres.url(OWNER_ROLE, TEMPLATE), self.postgres.url(APP_ROLE, TEMPLATE), logins)

    def administer(self, statement: str) -> None:
        """Run a statement that no transaction may hold, such as CREATE DATABASE."""
        self._superuser.rows(statement)

    @contextlib.contextmanager
    def open_databases(self) -> Iterator[Databases]:
        """Databases of one's own, dropped at the end."""
        name = f"sluice_{next(self._numbers)}"
        self.administer(f"create database {name} template {TEMPLATE} owner {OWNER_ROLE}")
        # Rights on a database are no part of its template.
        self.administer(f"revoke temporary on database {name} from public")
        folder = self.folder / name
        folder.mkdir()
        app, owner, superuser = (self.postgres.url(role, name) for role in (APP_ROLE, OWNER_ROLE, SUPERUSER))
        logins = {each: self.postgres.url(f"sluice_login_{each}", name) for each in LOGIN_ROLES}
        with self.open_redis() as redis_url:
            databases = Databases(name, app, owner, superuser, redis_url, self.encryption_key, folder, logins)
            try:
                yield databases
            finally:
                databases.superuser.close()
                # With force: a process that was killed a moment ago may still be connected.
                self.administer(f"drop database {name} with (force)")

    @contextlib.contextmanager
    def open_redis(self) -> Iterator[str]:
        """Give the URL of an empty Redis database that nobody else uses."""
        number = self._redis_databases.get_nowait()
        url = self.valkey.url.removesuffix("/0") + f"/{number}"
        with contextlib.closing(Redis.from_url(url)) as redis:
            redis.flushdb()
        try:
            yield url
        finally:
            self._redis_databases.put(number)


@contextlib.contextmanager
def open_servers(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Servers]:
    """Start both servers in `folder`; `settings` go over those that `sluice up` gives PostgreSQL."""
    (folder / "databases").mkdir(parents=True)
    with PostgresServer(folder / "pg", settings) as postgres, ValkeyServer(folder / "vk") as valkey:
        yield Servers(postgres, valkey, folder / "databases")


def new_celery(broker_url: str) -> Celery:
    """Return a Celery application with the project's settings that rings at `broker_url`."""
    celery = Celery("sluice", set_as_current=False)
    celery.config_from_object("celeryconfig")
    celery.conf.broker_url = kombu_url(broker_url)
    return celery
