"""Exits 0 while the process type that runs in this container works, 1 otherwise: the image's health check."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from app.local.processes import list_configured
from app.local.readiness import node_answers, url_answers
from app.runtime.settings import Settings

MARK = b"SLUICE_PROCESS="


def main() -> int:
    """Ask the process as a supervisor would; one that can only be seen to live is healthy as long as it does."""
    name = find_name()
    settings = Settings.from_environment()
    process = next((process for process in list_configured(settings) if process.name == name), None)
    if process is None:
        print("no process of Sluice runs in this container")
        return 1
    if process.health_url:
        healthy = url_answers(process.health_url)
    else:
        # The worker chose the rest of its name when it started.
        kind = process.node.rpartition("-")[0]
        healthy = not kind or node_answers(settings.required("broker_url"), f"{kind}-*")
    print(f"{name} {'answers' if healthy else 'does not answer'}")
    return 0 if healthy else 1


def find_name() -> str:
    """Return the process type that runs here, by the environment that it was given; empty where there is none."""
    for environment in sorted(Path("/proc").glob("[0-9]*/environ")):
        # A process may end while its environment is read, and those of other users are not readable.
        with contextlib.suppress(OSError):
            for variable in environment.read_bytes().split(b"\0"):
                if variable.startswith(MARK):
                    return variable.removeprefix(MARK).decode()
    return ""


if __name__ == "__main__":
    sys.exit(main())
