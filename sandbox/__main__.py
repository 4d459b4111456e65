"""`python -m sandbox`: serve the sandbox in the foreground."""

from __future__ import annotations

import os
import sys

from sandbox.settings import SandboxSettings

# Threads mostly wait for scripted delays; no test has this many callers at once.
_BLOCKING_THREADS = "32"
# A scripted delay may last two minutes; a stop does not wait for it.
_STOP_SECONDS = "5"


def main() -> None:
    """Replace this process with the web server. Exit 1 where a setting cannot be used."""
    try:
        settings = SandboxSettings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"sandbox: {error}")
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "--no-ws"]
    command += ["--workers", "1", "--blocking-threads", _BLOCKING_THREADS, "--workers-kill-timeout", _STOP_SECONDS]
    command += ["--host", settings.bind, "--port", str(settings.port), "sandbox:create_app"]
    os.execv(sys.executable, command)  # noqa: S606 - no shell, and only checked settings


if __name__ == "__main__":
    main()
