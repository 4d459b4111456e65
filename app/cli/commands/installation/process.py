"""The command `sluice process`: run one process type, for containers and other supervisors."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.local.processes import BROKER, REDIS, Process, list_configured
from app.runtime.settings import Settings


@click.command("process", short_help="Run one process type, for containers.")
@click.argument("name")
def command(name: str) -> None:
    """Run the process type NAME, configured only by the environment, for containers and other supervisors.

    NAME is web, sockets, worker-settle, worker-provider, worker-deliver, beat, flower or sandbox. It stays in the
    foreground and keeps this process's id, so that it receives signals.
    """
    settings = Settings.from_environment({**os.environ, "SLUICE_PROCESS": name})
    processes = list_configured(settings)
    process = next((process for process in processes if process.name == name), None)
    if process is None:
        raise click.UsageError(f"no process {name!r}; there are {', '.join(process.name for process in processes)}")
    _check(process, settings)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if process.several_processes:
        _share_metrics(process, settings)
    process.run()


def _check(process: Process, settings: Settings) -> None:
    """Raise an error for missing settings now: a worker in a crash loop would show them later."""
    if process.login:
        settings.required("database_url")
    for group in process.needs:
        if group in (*REDIS, *BROKER):
            settings.required("redis_url" if group in REDIS else "broker_url")
    if process.name == "sockets" and not settings.sockets_port:
        raise click.ClickException("SLUICE_SOCKETS_PORT is not set: other processes must know where the sockets are")
    if process.name in ("web", "worker-provider", "worker-deliver") and not settings.encryption_keys:
        raise click.ClickException("SLUICE_ENCRYPTION_KEYS is not set: provider secrets cannot be read or stored")


def _share_metrics(process: Process, settings: Settings) -> None:
    """Create the empty folder in which several processes of one type share their metrics."""
    folder = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or settings.home / "metrics" / process.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in folder.glob("*.db"):
        leftover.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
