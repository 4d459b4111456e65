"""Run `sluice up`: start all of Sluice on this machine and supervise it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from app.local.bootstrap import DemoTenant
from app.local.embedded import PostgresServer, ServerUnavailable, ValkeyServer
from app.local.processes import LOOPBACK, ROOT, Process, find_flower_bind, list_configured
from app.local.readiness import node_answers, url_answers
from app.local.run_folder import HomeInUse, hold_home, remove_run_file, write_run_file
from app.local.spawn import port_is_free, reserve_ports
from app.local.start_steps import prepare_database, register_merchants
from app.local.supervisor import Program, StartFailed, StopRequested, Supervisor
from app.runtime.settings import LOGIN_VARIABLES, Settings

PORT_SECONDS = 2.0  # Processes of a stack that has just been killed may take this long to release their ports.


def up(settings: Settings) -> int:
    """Run everything until SIGINT or SIGTERM; return the exit code: 0 after such a signal, 1 if the start failed."""
    supervisor = Supervisor(settings.home, report=say)
    try:
        with supervisor.signals(), hold_home(settings.home):
            try:
                start_everything(settings, supervisor)
                supervisor.watch()
            finally:
                remove_run_file(settings.home)
                supervisor.stop()
    except StopRequested:
        say("sluice stopped")
    except (HomeInUse, ServerUnavailable, StartFailed) as error:
        print(f"sluice: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def start_everything(settings: Settings, supervisor: Supervisor) -> None:
    """Start the servers, then the processes; write run.json and print `sluice ready ...` as the last line."""
    check_ports(settings)
    say(f"Starting Sluice in {settings.home}")
    settings = allow_local_providers(complete_sockets(start_servers(settings, supervisor)))
    demo = prepare_database(settings, supervisor)
    processes = list_configured(settings)
    metrics = choose_metrics(processes, settings)
    metrics_urls = list_metrics(processes, metrics, settings)
    settings = allow_local_endpoints(settings, metrics_urls.values())

    outer = {**os.environ, **describe_environment(settings), **demo.environment}

    def publish() -> None:
        write_run_file(settings.home, describe_run(settings, demo, metrics_urls, supervisor.pids))

    supervisor.start([to_program(process, {**outer, **metrics[process.name]}, settings) for process in processes])
    register_merchants(settings, demo)
    publish()
    supervisor.on_change = publish
    announce(settings, demo)


def check_ports(settings: Settings) -> None:
    """Raise StartFailed with the first port that is taken and the variable that sets it."""
    wanted = {
        "SLUICE_PORT": settings.port,
        "SLUICE_SANDBOX_PORT": settings.sandbox_port,
        "SLUICE_FLOWER_PORT": settings.flower_port,
        "SLUICE_SOCKETS_PORT": settings.sockets_port,
    }
    deadline = time.monotonic() + PORT_SECONDS
    taken_by: dict[int, str] = {}
    for variable, port in wanted.items():
        if not port:
            continue
        if port in taken_by:
            raise StartFailed(f"{variable} and {taken_by[port]} are both {port}: give each its own")
        taken_by[port] = variable
        while not port_is_free(settings.bind, port):
            if time.monotonic() > deadline:
                raise StartFailed(f"port {port} on {settings.bind} is taken: set {variable} to a free one")
            time.sleep(0.05)


def complete_sockets(settings: Settings) -> Settings:
    """Return the settings with the port and the public URL of the sockets."""
    port = settings.sockets_port or reserve_ports(1, settings.bind)[0]
    web = urlsplit(settings.public_url)
    host = f"[{web.hostname}]" if ":" in (web.hostname or "") else web.hostname
    public_url = settings.sockets_public_url or f"{web.scheme}://{host}:{port}"
    return dataclasses.replace(settings, sockets_port=port, sockets_public_url=public_url)


def allow_local_providers(settings: Settings) -> Settings:
    """Allow all providers on this machine if the stack listens on loopback only, else only the stack's sandbox."""
    allowed = LOOPBACK if settings.bind in LOOPBACK else (urlsplit(settings.local_url(settings.sandbox_port)).netloc,)
    return dataclasses.replace(settings, private_providers=(*settings.private_providers, *allowed))


def allow_local_endpoints(settings: Settings, urls: Iterable[str]) -> Settings:
    """Allow webhook endpoints on this machine if the stack listens on loopback only, but at no port of the stack.

    Its ports are those of the settings and of the servers' and `urls`.
    """
    if settings.bind not in LOOPBACK:
        return settings
    servers = (settings.redis_url, settings.broker_url, settings.default_database_url, *settings.login_urls.values())
    named = {urlsplit(url).port for url in (*servers, settings.owner_database_url, *urls) if url}
    own = {settings.port, settings.sandbox_port, settings.flower_port, settings.sockets_port}
    return dataclasses.replace(settings, stack_ports=tuple(sorted(port for port in named | own if port)))


def start_servers(settings: Settings, supervisor: Supervisor) -> Settings:
    """Start the embedded servers for which no URL is set; return the settings with their URLs."""
    if not (settings.default_database_url or settings.login_urls):
        postgres = PostgresServer(settings.home)
        supervisor.add_server(postgres)
        postgres.start()
        settings = dataclasses.replace(
            settings,
            database_url=postgres.database_url,
            default_database_url=postgres.database_url,
            login_urls=postgres.login_urls,
            owner_database_url=postgres.owner_database_url,
        )
    if not settings.redis_url:
        valkey = ValkeyServer(settings.home)
        supervisor.add_server(valkey)
        valkey.start()
        settings = dataclasses.replace(settings, redis_url=valkey.url, broker_url=settings.broker_url or valkey.url)
    return settings


def describe_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as the variables that a process of this stack reads."""
    variables = {
        "DATABASE_URL": settings.default_database_url,
        **{LOGIN_VARIABLES[name]: url for name, url in settings.login_urls.items()},
        "REDIS_URL": settings.redis_url,
        "BROKER_URL": settings.broker_url,
        "SLUICE_HOME": str(settings.home),
        "SLUICE_BIND": settings.bind,
        # There is no load balancer to wait for, and everything must be down within ten seconds.
        "SLUICE_DRAIN_SECONDS": "1",
        "SLUICE_PORT": str(settings.port),
        "SLUICE_SANDBOX_PORT": str(settings.sandbox_port),
        "SLUICE_FLOWER_PORT": str(settings.flower_port),
        "SLUICE_SOCKETS_PORT": str(settings.sockets_port),
        "SLUICE_PUBLIC_URL": settings.public_url,
        "SLUICE_SOCKETS_PUBLIC_URL": settings.sockets_public_url,
        "SLUICE_SANDBOX_PUBLIC_URL": settings.sandbox_public_url,
        "SLUICE_PRIVATE_PROVIDERS": ",".join(settings.private_providers),
        "SLUICE_STACK_PORTS": ",".join(map(str, settings.stack_ports)),
        "SLUICE_DEMO": "1",
    }
    return {name: value for name, value in variables.items() if value}


def choose_metrics(processes: tuple[Process, ...], settings: Settings) -> dict[str, dict[str, str]]:
    """Return each process's variables for its metrics: a port, and an empty folder where several processes share it."""
    root = settings.home / "metrics"
    shutil.rmtree(root, ignore_errors=True)
    chosen: dict[str, dict[str, str]] = {}
    # One more than needed: an operator's port for the sockets is not reserved.
    free = [port for port in reserve_ports(len(processes) + 1) if port != settings.sockets_port]
    for process, port in zip(processes, free, strict=False):
        needs_port = process.serves_metrics and not process.metrics_url
        variables = {"SLUICE_METRICS_PORT": str(port)} if needs_port else {}
        if process.several_processes:
            folder = root / process.name
            folder.mkdir(mode=0o700, parents=True)
            variables["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        chosen[process.name] = variables
    return chosen


def list_metrics(
    processes: tuple[Process, ...], variables: Mapping[str, Mapping[str, str]], settings: Settings
) -> dict[str, str]:
    """Return the URL of each process type's metrics, as this machine reaches them."""
    # Without a token each process's own metrics server listens on loopback only.
    server = settings if settings.metrics_token else dataclasses.replace(settings, bind="127.0.0.1")
    urls = {process.name: process.metrics_url for process in processes if process.metrics_url}
    for name, chosen in variables.items():
        if "SLUICE_METRICS_PORT" in chosen:
            urls[name] = f"{server.local_url(int(chosen['SLUICE_METRICS_PORT']))}/metrics"
    return urls


def to_program(process: Process, outer: Mapping[str, str], settings: Settings) -> Program:
    """Return a process with its environment and its readiness check."""

    def ready() -> bool:
        if process.health_url:
            return url_answers(process.health_url)
        # A process type without a check is ready as long as it lives, which the supervisor checks itself.
        return not process.node or node_answers(settings.required("broker_url"), process.node)

    return Program(process.name, process.argv, process.environment(outer), ROOT, ready)


def describe_run(
    settings: Settings, demo: DemoTenant, metrics_urls: Mapping[str, str], pids: Mapping[str, int]
) -> dict[str, object]:
    """Return the content of run.json."""
    return {
        "web": settings.public_url,
        "sockets": settings.sockets_public_url,
        "sandbox": settings.sandbox_public_url,
        "flower": flower_url(settings),
        "secret_key": demo.secret_key,
        "tenant": demo.tenant_id,
        "provider_id": demo.provider_id,
        "webhook_secret": demo.webhook_secret,
        "database_url": settings.default_database_url or settings.login_urls.get("operator"),
        "login_urls": dict(settings.login_urls),
        "owner_database_url": settings.owner_database_url,
        "redis_url": settings.redis_url,
        "broker_url": settings.broker_url,
        "private_providers": ",".join(settings.private_providers),
        "stack_ports": ",".join(map(str, settings.stack_ports)),
        "metrics": dict(metrics_urls),
        "pids": dict(pids),
    }


def flower_url(settings: Settings) -> str:
    """Return the URL by which this machine reaches Flower, which has no public URL."""
    bind = find_flower_bind(settings.bind, settings.flower_auth)
    return dataclasses.replace(settings, bind=bind).local_url(settings.flower_port)


def announce(settings: Settings, demo: DemoTenant) -> None:
    """Print the addresses and keys; the line `sluice ready ...` is the last."""
    say(f"  Demo page       {settings.public_url}/demo")
    say(f"  API             {settings.public_url} (reference: {settings.public_url}/docs)")
    say(f"  Sandbox         {settings.sandbox_public_url}")
    say(f"  Flower          {flower_url(settings)}")
    say(f"  Secret key      {demo.secret_key}")
    say(f"  Provider        {demo.provider_id}")
    say(f"  Webhook secret  {demo.webhook_secret}")
    say(f"sluice ready {settings.public_url}/demo")


def say(line: str) -> None:
    """Print one line without buffering."""
    print(line, flush=True)
