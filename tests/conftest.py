"""Fixtures for every test: real servers for the session, and fresh databases on them.

Scopes: `postgres`, `valkey`, `servers` and `front` (a web process and a sandbox) live for the session; `stack`
(processes, started when asked) for a module; `databases`, `runtime` and `tenant` for one test, as do `shop`, `api` and
`engine`, which are on `front`. `feed` and `live` are on `live_stack`, the sockets process of a module.
A test that needs another life opens its own with `servers.open_databases()`. A session is one process of `make test`:
parallel ones share nothing but the machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from playwright.sync_api import Browser

from app.local.embedded import PostgresServer, ValkeyServer
from app.local.spawn import reserve_ports
from app.runtime.logs import configure_logging
from app.runtime.runtime import Runtime
from testbed.servers import NO_SYNC, Databases, Servers, open_servers
from testbed.shop import Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend
from tests.integration.provider_calls.odd_provider import OddProvider, open_odd_provider
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.chromium import launch_chromium
from tests.support.clients.api import Api
from tests.support.clients.live_clients import LiveClients
from tests.support.clients.notification_feed import NotificationFeed, make_feed
from tests.support.engine import Engine
from tests.support.supervised_stack import STOP_SECONDS, SupervisedStack
from tests.support.webhook_receiver import WebhookReceiver

# Hypothesis has a profile of its own for CI, which repeats the same examples in every run.
settings.load_profile("default")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """PostgreSQL for the session."""
    with PostgresServer(tmp_path_factory.mktemp("pg"), NO_SYNC) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """Valkey for the session."""
    with ValkeyServer(tmp_path_factory.mktemp("vk")) as server:
        yield server


@pytest.fixture(scope="session")
def servers(postgres: PostgresServer, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """Both servers with a migrated template; `open_databases()` gives a PostgreSQL and a Redis database."""
    # As in a process of Sluice; without it each logged exception is drawn with all its variables, for seconds.
    configure_logging()
    return Servers(postgres, valkey, tmp_path_factory.mktemp("databases"))


@pytest.fixture
def databases(servers: Servers) -> Iterator[Databases]:
    """Provide an empty, migrated database and an empty Redis for one test."""
    with servers.open_databases() as opened:
        yield opened


@pytest.fixture
def runtime(databases: Databases) -> Iterator[Runtime]:
    """Provide a runtime on `databases`, in this process."""
    with databases.open_runtime() as opened:
        yield opened


@pytest.fixture
def tenant(runtime: Runtime) -> Shop:
    """Provide a tenant on `runtime` whose provider cannot be reached."""
    return make_shop(runtime)


@pytest.fixture(scope="module")
def stack(servers: Servers) -> Iterator[Stack]:
    """Provide a stack for one module, on databases of its own; `stack.start("web", "sandbox")` starts processes."""
    with servers.open_databases() as opened, Stack.open(opened) as started:
        yield started


@pytest.fixture(scope="session")
def front(servers: Servers) -> Iterator[Stack]:
    """Provide a web process and a sandbox for the session, without workers: `engine` does their work."""
    with servers.open_databases() as opened, Stack.open(opened) as started:
        started.start("web", "sandbox")
        yield started


@pytest.fixture(scope="module")
def live_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of the module's own, which its tests may stop and start."""
    with open_servers(tmp_path_factory.mktemp("live"), NO_SYNC) as opened:
        yield opened


@pytest.fixture(scope="module")
def live_stack(live_servers: Servers) -> Iterator[Stack]:
    """Provide a sockets process on `live_servers`, which tests may stop and start; it is subscribed to hints."""
    environment = {"SLUICE_METRICS_PORT": str(reserve_ports(1)[0])}
    with live_servers.open_databases() as opened, Stack.open(opened, **environment) as started:
        started.start("sockets")
        wait_until(LiveClients(started).is_ready, "it hears hints")
        yield started


@pytest.fixture
def live(live_stack: Stack) -> Iterator[LiveClients]:
    """Live connections to `live_stack`, closed after the test."""
    clients = LiveClients(live_stack)
    yield clients
    clients.close()


@pytest.fixture
def feed(live_stack: Stack) -> NotificationFeed:
    """Notifications of a tenant of the test's own on `live_stack`."""
    return make_feed(live_stack)


@pytest.fixture
def shop(front: Stack) -> Shop:
    """Provide a tenant of the test's own on `front`, with an account at the sandbox."""
    return front.make_shop()


@pytest.fixture
def api(front: Stack, shop: Shop) -> Api:
    """Provide the shop's backend, calling `front` over HTTP."""
    return Api(front.web, shop.secret_key)


@pytest.fixture
def engine(front: Stack) -> Engine:
    """Provide the work of the workers on `front`, done in this process on request of the test."""
    return Engine(front.runtime, front.databases)


@pytest.fixture(scope="session")
def full_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedStack]:
    """Provide all processes under `sluice up`, started once; nothing of it may be left at the end."""
    running = SupervisedStack(tmp_path_factory.mktemp("stack") / "home")
    try:
        running.start()
        yield running
        assert running.stop() < STOP_SECONDS
    finally:
        running.end()


@pytest.fixture
def frontend(full_stack: SupervisedStack) -> Frontend:
    """Provide a user without a history on `full_stack`."""
    return Frontend(full_stack)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Provide a sandbox process of the module's own with one merchant."""
    running = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.close()


@pytest.fixture
def odd(engine: Engine, shop: Shop) -> Iterator[OddProvider]:
    """Provide the shop's provider, which answers as the test wants."""
    with open_odd_provider(engine, shop) as provider:
        yield provider


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """Provide a server that receives webhooks."""
    running = WebhookReceiver()
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Provide a headless browser for the module."""
    yield from launch_chromium()
