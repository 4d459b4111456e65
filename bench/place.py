"""Where the bench works: embedded servers with their real settings, and the product's own processes on them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from celery import Celery
from redis import Redis

from app.local.embedded import APP_ROLE, OWNER_ROLE, SUPERUSER, PostgresServer, ValkeyServer
from app.local.processes import ROOT, Ports, Process, list_processes
from app.local.readiness import node_answers, url_answers
from app.local.spawn import find_free_ports, launch, read_log_tail
from app.runtime.broker.urls import kombu_url
from app.runtime.doorbells import Doorbells
from app.runtime.runtime import Runtime, connect_redis
from app.runtime.settings import Settings
from app.runtime.vault import new_encryption_key
from app.services.tenants import providers, tenants
from app.services.tenants.providers import NewProvider
from app.services.tenants.tenants import NewTenant
from bench.figures import BenchFailed, wait_until
from models import Database
from models.migrations import upgrade

ACTOR = "operator:bench"
# Nothing listens there: where a provider is measured, the part gives one of its own.
NOWHERE = "http://127.0.0.1:9"
TEMPLATE = "bench_template"
STOP_SECONDS = 8.0
# How long the trailing work of a round (numbering, sealing) may go on; where it does not end, a part of the product
# does not work, and what is measured without it would flatter.
QUIET_SECONDS = 120.0


@dataclass(frozen=True)
class Shop:
    """A tenant with one provider, its key and its provider's webhook secret."""

    tenant_id: uuid.UUID
    provider_id: uuid.UUID
    key_id: uuid.UUID
    secret_key: str
    webhook_secret: str


@dataclass
class Ground:
    """PostgreSQL with a migrated template database, and Valkey."""

    postgres: PostgresServer
    valkey: ValkeyServer
    folder: Path
    encryption_key: str = field(default_factory=new_encryption_key)
    # Valkey has sixteen databases; the first is for questions about the server.
    _free: list[int] = field(default_factory=lambda: list(range(15, 0, -1)))

    def administer(self, statement: str) -> None:
        """Run a statement that no transaction may hold."""
        with contextlib.closing(psycopg2.connect(self.postgres.url(SUPERUSER, "postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    @contextlib.contextmanager
    def open_redis(self) -> Iterator[str]:
        """The URL of an empty Redis database that nobody else uses."""
        number = self._free.pop()
        url = self.valkey.url.removesuffix("/0") + f"/{number}"
        with contextlib.closing(Redis.from_url(url)) as redis:
            try:
                yield url
            finally:
                redis.flushdb()
                self._free.append(number)

    @contextlib.contextmanager
    def open_place(self, name: str, provider_url: str = NOWHERE) -> Iterator[Place]:
        """A migrated database of its own with one tenant; what was started on it is ended with the block."""
        database, folder = f"bench_{name}", self.folder / name
        self.administer(f"create database {database} template {TEMPLATE} owner {OWNER_ROLE}")
        folder.mkdir()
        try:
            with self.open_redis() as redis_url:
                place = Place(self, database, redis_url, folder, Ports("127.0.0.1", *find_free_ports(4)))
                with place.open_runtime() as place.runtime, contextlib.closing(place.connect()) as place.onlooker:
                    place.shop = make_shop(place.runtime, provider_url)
                    try:
                        yield place
                    finally:
                        place.close()
        finally:
            self.administer(f"drop database {database} with (force)")
            shutil.rmtree(folder)


@dataclass
class Place:
    """A database, a Redis database, a tenant, and the product's processes on them."""

    ground: Ground
    database: str
    redis_url: str
    folder: Path
    ports: Ports
    runtime: Runtime = field(init=False)
    shop: Shop = field(init=False)
    celery: Celery = field(init=False)
    # A connection for looking: a new one for each look would be half of what the server does in a round.
    onlooker: psycopg2.extensions.connection = field(init=False)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    described: dict[str, Process] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What `sluice up` would give its processes for this place."""
        urls = {name: self.ports.url(getattr(self.ports, name)) for name in ("web", "sockets", "sandbox")}
        return {
            "DATABASE_URL": self.ground.postgres.url(APP_ROLE, self.database),
            "DATABASE_OWNER_URL": self.ground.postgres.url(OWNER_ROLE, self.database),
            "REDIS_URL": self.redis_url,
            "BROKER_URL": self.redis_url,
            "SLUICE_HOME": str(self.folder),
            "SLUICE_ENCRYPTION_KEYS": self.ground.encryption_key,
            "SLUICE_PRIVATE_PROVIDERS": "127.0.0.1,::1,localhost",
            "SLUICE_PORT": str(self.ports.web),
            "SLUICE_SOCKETS_PORT": str(self.ports.sockets),
            "SLUICE_SANDBOX_PORT": str(self.ports.sandbox),
            "SLUICE_FLOWER_PORT": str(self.ports.flower),
            "SLUICE_PUBLIC_URL": urls["web"],
            "SLUICE_SOCKETS_PUBLIC_URL": urls["sockets"],
            "SLUICE_SANDBOX_PUBLIC_URL": urls["sandbox"],
        }

    @contextlib.contextmanager
    def open_runtime(self) -> Iterator[Runtime]:
        """A runtime of this process for the place."""
        celery = Celery("sluice", set_as_current=False)
        celery.config_from_object("celeryconfig")
        celery.conf.broker_url = kombu_url(self.redis_url)
        redis, settings = connect_redis(self.redis_url), Settings.from_environment(self.environment)
        self.celery = celery
        runtime = Runtime(settings, Database(self.environment["DATABASE_URL"], 4), redis, Doorbells(redis, celery))
        try:
            yield runtime
        finally:
            runtime.database.engine.dispose()
            redis.close()
            celery.close()

    @contextlib.contextmanager
    def superuser(self) -> Iterator[psycopg2.extensions.cursor]:
        """A transaction of the superuser, whom neither row-level security nor time-outs stop."""
        connection = self.connect()
        connection.autocommit = False
        with contextlib.closing(connection), connection, connection.cursor() as cursor:
            yield cursor

    def maintain(self, statement: str) -> None:
        """Run CHECKPOINT, VACUUM or the like as the superuser."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def connect(self) -> psycopg2.extensions.connection:
        """Connect as the superuser, whom neither row-level security nor time-outs stop; each statement commits."""
        connection = psycopg2.connect(self.ground.postgres.url(SUPERUSER, self.database))
        connection.autocommit = True
        return connection

    def row(self, sql: str, *values: object) -> tuple[Any, ...]:
        """Return the one row that a query of the superuser gives; for the main thread alone."""
        with self.onlooker.cursor() as cursor:
            cursor.execute(sql, values)
            return tuple(cursor.fetchone() or ())

    def value(self, sql: str, *values: object) -> Any:
        """Return the one value that a query of the superuser gives; for the main thread alone."""
        return self.row(sql, *values)[0]

    def start(self, *names: str, **environment: str) -> None:
        """Start processes of the product, all at once, and waits until each of them works."""
        self.launch(*names, **environment)
        self.await_working(*names)

    def launch(self, *names: str, **environment: str) -> None:
        """Start processes of the product; `await_working` is to follow."""
        for name in names:
            process = self.describe(name)
            shared = self._share_metrics(process)
            outer = {**os.environ, **self.environment, **shared, **environment}
            self.running[name] = launch(
                process.argv,
                log_path=self.folder / f"{name}.log",
                env=process.environment(outer),
                cwd=ROOT,
                death_signal=signal.SIGTERM,
            )

    def await_working(self, *names: str) -> None:
        """Return once each of these works."""
        for name in names:
            wait_until(lambda name=name: self._works(self.describe(name)), f"{name} works")  # type: ignore[misc]

    def describe(self, name: str) -> Process:
        """Return the process type of that name; always the same, since a worker's node has a name of its own."""
        if name not in self.described:
            processes = {process.name: process for process in list_processes(self.ports, self.folder)}
            self.described[name] = processes[name]
        return self.described[name]

    def _share_metrics(self, process: Process) -> Mapping[str, str]:
        """Several processes of a type add up their numbers in a folder, as in a stack of `sluice up`."""
        if not process.several_processes:
            return {}
        folder = self.folder / "metrics" / process.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}

    def _works(self, process: Process) -> bool:
        code = self.running[process.name].poll()
        if code is not None:
            tail = read_log_tail(self.folder / f"{process.name}.log", 20)
            raise BenchFailed(f"{process.name} ended with {code}: {tail}")
        if process.health_url:
            return url_answers(process.health_url)
        return not process.node or node_answers(self.redis_url, process.node)

    def family(self, name: str) -> list[psutil.Process]:
        """Return a started process and its children; none where it has ended."""
        try:
            main = psutil.Process(self.running[name].pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self, *names: str) -> None:
        """End processes and their children, all at once."""
        families = [self.family(name) for name in names]
        processes = [self.running.pop(name) for name in names]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process, family in zip(processes, families, strict=True):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()

    def close(self) -> None:
        """End everything that runs here."""
        self.stop(*self.running)

    def settle_down(self) -> None:
        """Wait until what trails a round (numbering, sealing) is done, so that it is not charged to the next one."""
        queues = ("webhook_work", "notification_work", "audit_work")
        left = " or ".join(f"exists (select from {queue})" for queue in queues)
        # Beat would ask for it within seconds; that wait is nobody's work.
        self.celery.send_task("tasks.seal", queue="ring.sweep", ignore_result=True)
        wait_until(lambda: not self.value(f"select {left}"), "all is numbered and sealed", QUIET_SECONDS)


def make_shop(runtime: Runtime, provider_url: str) -> Shop:
    """Make a tenant without limits and its provider."""
    new_tenant = NewTenant("bench-" + secrets.token_hex(6), requests_per_second=None)
    tenant_id = tenants.create_tenant(runtime, new_tenant, ACTOR)
    key_id, secret_key = tenants.create_key(runtime, tenant_id, "admin", "bench", ACTOR)
    new = NewProvider(tenant_id, "sandbox", "sandbox", provider_url, "sbk_" + secrets.token_hex(12), is_default=True)
    provider_id, webhook_secret = providers.create_provider(runtime, new, ACTOR)
    return Shop(tenant_id, provider_id, key_id, secret_key, webhook_secret)


@contextlib.contextmanager
def open_ground(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Ground]:
    """Start both servers in `folder` with the settings that `sluice up` gives them, and make the template."""
    folder.mkdir(parents=True, exist_ok=True)
    postgres, valkey = PostgresServer(folder / "pg", settings), ValkeyServer(folder / "vk")
    try:
        postgres.start()
        valkey.start()
        ground = Ground(postgres, valkey, folder)
        ground.administer(f"create database {TEMPLATE} owner {OWNER_ROLE}")
        upgrade(postgres.url(OWNER_ROLE, TEMPLATE), postgres.url(APP_ROLE, TEMPLATE))
        yield ground
    finally:
        valkey.stop()
        postgres.stop()
