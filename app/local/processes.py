"""The command and environment of every process type, for `sluice up`, containers and tests."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.core.validation.addresses import url_host
from app.runtime.settings import LOGIN_VARIABLES, Settings, SettingsError, drop_service_addresses

ROOT = Path(__file__).resolve().parents[2]  # The folder of web.py, worker.py and the packages.
BACKLOG = 1024  # Connections that wait for a free thread; more than this would be answered too late.
STOP_SECONDS = 3  # Time for requests in progress when their process is stopped: less than the stack's ten.
RESPAWN_SECONDS = 0.5  # Delay before a crashed worker of the HTTP server is replaced.
HEADER_MILLISECONDS = 10_000  # A client that needs longer to send its headers is broken or malicious.
SETTLE_PROCESSES = 2  # Settling is bound by processors and the database: the second works while one commits.
PROVIDER_THREADS = 4  # One claims and settles provider calls, which have threads of their own; the others sweep.
DELIVER_THREADS = 2  # One claims and settles deliveries, which have threads of their own; the other takes rings.
FLOWER_TASKS = 10_000  # Flower keeps tasks in memory only; this is some tens of MB.
LOOPBACK = ("127.0.0.1", "::1", "localhost")  # Addresses that only this machine reaches.

# Variables that hold secrets, ours and other programs': only process types that need one receive it. A new variable
# with such a name is withheld from all until a process type names it.
SECRET_NAME = re.compile(
    r"DATABASE_(\w+_)?URL|REDIS_URL|BROKER_URL|ALERT_URL|\w*(SECRET|TOKEN|PASSWORD|KEYS?|AUTH|CREDENTIALS|DSN)"
)


def drop_secrets(outer: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without secrets, for programs that need none."""
    return {name: value for name, value in outer.items() if not SECRET_NAME.fullmatch(name)}


# The secrets that a process type needs: of each group the first variable that is set.
Needs = tuple[tuple[str, ...], ...]
REDIS: Needs = (("REDIS_URL",),)
# Celery's broker, to which every process that rings connects; Redis also carries hints.
BROKER: Needs = (("BROKER_URL", "REDIS_URL"),)
METRICS: Needs = (("SLUICE_METRICS_TOKEN",),)
ENCRYPTION: Needs = (("SLUICE_ENCRYPTION_KEYS",),)
ALARMS: Needs = (("ALERT_URL",), ("ALERT_SECRET",))


@dataclass(frozen=True)
class Process:
    """One process type: its command, its environment, and its readiness check."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    # Secrets of its environment, in addition to its database login.
    needs: Needs = ()
    # The process type whose login it uses, as in DATABASE_<TYPE>_URL; without one it knows no database.
    login: str = ""
    # The readiness check: a URL, or a Celery node to ping; without either the process only has to live.
    health_url: str = ""
    node: str = ""
    serves_metrics: bool = True
    # The URL of its metrics, for a process type that has no metrics server of its own.
    metrics_url: str = ""
    several_processes: bool = False
    # Why it must not be started with these settings: a message for the operator.
    refusal: str = ""

    def environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        """Return `outer` with only those secrets that the process needs, and its own variables."""
        # A program such as Flower reads variables with its own name, for example FLOWER_PORT.
        known = drop_service_addresses(outer)
        needed = {next((name for name in group if known.get(name)), "") for group in self._groups}
        kept = {key: value for key, value in known.items() if key in needed or not SECRET_NAME.fullmatch(key)}
        return {**kept, "SLUICE_PROCESS": self.name, "PYTHONUNBUFFERED": "1", **self.env}

    def run(self) -> None:
        """Become this process, with the present environment. Raise SettingsError where that is refused."""
        if self.refusal:
            raise SettingsError(self.refusal)
        os.chdir(ROOT)
        os.execvpe(self.argv[0], self.argv, self.environment(os.environ))  # noqa: S606  # nosec B606

    @property
    def _groups(self) -> Needs:
        # A password that is not part of the URL is libpq's own variable.
        database = ((LOGIN_VARIABLES[self.login], "DATABASE_URL"), ("PGPASSWORD",)) if self.login else ()
        return (*self.needs, *database)


@dataclass(frozen=True)
class Ports:
    """The address and the ports on which processes listen."""

    bind: str
    web: int
    sockets: int
    sandbox: int
    flower: int

    def url(self, port: int, path: str = "") -> str:
        """Return the URL by which this machine reaches a port, whatever address browsers use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.bind, url_host(self.bind))  # noqa: S104  # nosec B104
        return f"http://{host}:{port}{path}"


def list_configured(settings: Settings) -> tuple[Process, ...]:
    """Return every process type, as the settings have it."""
    ports = Ports(settings.bind, settings.port, settings.sockets_port or 0, settings.sandbox_port, settings.flower_port)
    return list_processes(ports, settings.home, web_workers=settings.web_workers, flower_auth=settings.flower_auth)


def list_processes(
    ports: Ports, home: Path, *, web_workers: int = 1, flower_auth: str | None = None
) -> tuple[Process, ...]:
    """Return every process type; beat's schedule and the sandbox's data go below `home`."""
    schedule = str(home.absolute() / "beat-schedule")
    return (
        _web(ports, web_workers),
        _sockets(ports),
        _worker("settle", "ring.settle,ring.notify", "prefork", SETTLE_PROCESSES, REDIS + BROKER + METRICS),
        _worker(
            *("provider", "ring.provider,ring.sweep", "threads", PROVIDER_THREADS),
            REDIS + BROKER + METRICS + ENCRYPTION + ALARMS,
        ),
        _worker("deliver", "ring.deliver", "threads", DELIVER_THREADS, REDIS + BROKER + METRICS + ENCRYPTION),
        Process(
            "beat",
            _celery("beat", "--schedule", schedule, "--pidfile=", "--loglevel", "WARNING"),
            needs=BROKER + METRICS,
            login="beat",
        ),
        _flower(ports, flower_auth),
        _sandbox(ports, home),
    )


def _web(ports: Ports, workers: int) -> Process:
    argv = _module("gunicorn", "--config", "python:app.web.gunicorn_settings", "--log-level", "warning", "web:app")
    env = {"SLUICE_PORT": str(ports.web), "SLUICE_WEB_WORKERS": str(workers)}
    health_url, metrics_url = ports.url(ports.web, "/health/ready"), ports.url(ports.web, "/metrics")
    needs = REDIS + BROKER + METRICS + ENCRYPTION
    return Process(
        *("web", argv, env, needs, "web"), health_url=health_url, metrics_url=metrics_url, several_processes=True
    )


def _sandbox(ports: Ports, home: Path) -> Process:
    # One worker process: its SQLite file and its delivery thread have one owner.
    argv = _module(
        *("granian", "--interface", "wsgi", "--http", "1", "--no-ws", "--host", ports.bind),
        *("--port", str(ports.sandbox), "--workers", "1", "--blocking-threads", "32", "--backlog", str(BACKLOG)),
        *("--workers-kill-timeout", str(STOP_SECONDS), "--http1-header-read-timeout", str(HEADER_MILLISECONDS)),
        *("--respawn-failed-workers", "--respawn-interval", str(RESPAWN_SECONDS), "--log-level", "warning"),
        *("--factory", "sandbox:create_app"),
    )
    env = {"SLUICE_SANDBOX_PORT": str(ports.sandbox), "SANDBOX_DATA": str(home.absolute() / "sandbox")}
    needs: Needs = (("SANDBOX_CONTROL_KEY",),)
    return Process("sandbox", argv, env, needs, health_url=ports.url(ports.sandbox, "/health"), serves_metrics=False)


def _sockets(ports: Ports) -> Process:
    argv = (
        *("gunicorn", "--config", "python:app.sockets.gunicorn_settings"),
        *("--bind", f"{url_host(ports.bind)}:{ports.sockets}"),
        # The control socket would lie in the user's home folder.
        *("--no-control-socket", "--log-level", "warning", "app.sockets:create_app()"),
    )
    env = {"SLUICE_SOCKETS_PORT": str(ports.sockets)}
    url = ports.url(ports.sockets, "/health/live")
    return Process("sockets", _module(*argv), env, REDIS + METRICS, "sockets", health_url=url)


def _worker(name: str, queues: str, pool: str, concurrency: int, needs: Needs) -> Process:
    # A unique node name: of two workers with one name, either would answer the other's ping.
    node = f"{name}-{secrets.token_hex(3)}"
    argv = _celery(
        *("worker", "--hostname", f"{node}@%h", "--queues", queues, "--pool", pool, "--concurrency", str(concurrency)),
        # Gossip and mingle exchange messages with every other worker at each start, for features that are not used.
        *("--task-events", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    )
    return Process(f"worker-{name}", argv, {}, needs, name, node=node, several_processes=pool == "prefork")


def find_flower_bind(bind: str, auth: str | None) -> str:
    """Return Flower's address: loopback without a password, because Flower can stop workers."""
    return bind if auth or bind in LOOPBACK else "127.0.0.1"


def _flower(ports: Ports, auth: str | None) -> Process:
    bind = find_flower_bind(ports.bind, auth)
    options = (f"--address={bind}", f"--port={ports.flower}", f"--max_tasks={FLOWER_TASKS}", "--logging=warning")
    return Process(
        "flower",
        _celery("flower", *options),
        # Not a command-line option: every user of the machine can read those.
        {"FLOWER_BASIC_AUTH": auth} if auth else {},
        needs=BROKER,
        health_url=replace(ports, bind=bind).url(ports.flower, "/healthcheck"),
        serves_metrics=False,
        refusal="" if bind == ports.bind else f"Flower on {ports.bind} needs SLUICE_FLOWER_AUTH=user:password",
    )


def _celery(*arguments: str) -> tuple[str, ...]:
    # Without --broker= Celery would use BROKER_URL unchanged, and not the URL that celeryconfig.py makes of it: kombu
    # spells Sentinels, sockets and TLS differently.
    return _module("celery", "--app", "worker", "--broker=", "--quiet", *arguments)


def _module(*argv: str) -> tuple[str, ...]:
    # Through the interpreter, so that PATH need not contain the environment's scripts.
    return (sys.executable, "-m", *argv)
