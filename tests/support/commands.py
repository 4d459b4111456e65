"""The command line, run in this process on databases of a test's own."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result

from app.cli import main
from testbed.servers import Databases

# The actor of a command that this test runs.
LOCAL = f"uid:{os.getuid()}@{socket.gethostname()}"

# What a developer may have set and a test must not see.
_FOREIGN = (
    "SLUICE_PUBLIC_URL",
    "SLUICE_BIND",
    "ALERT_URL",
    "ALERT_SECRET",
    "TRUSTED_PROXIES",
    "SLUICE_PROVIDER_API_KEY",
)


@dataclass(frozen=True)
class Commands:
    """Runs `sluice` commands against `databases`."""

    databases: Databases

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        """Run a command, whatever comes of it."""
        env: dict[str, str | None] = dict.fromkeys(_FOREIGN) | self.databases.environment | environment
        return CliRunner().invoke(main, arguments, input=stdin, env=env)

    def text(self, *arguments: str, **options: Any) -> str:
        """Run a command that must succeed and return what it prints."""
        done = self.run(*arguments, **options)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    def json(self, *arguments: str, **options: Any) -> Any:
        """Run a command with --json that must succeed and return its one document."""
        return json.loads(self.text(*arguments, "--json", **options))

    def error(self, *arguments: str, code: int = 1, **options: Any) -> str:
        """Run a command that must end with `code`, nothing on stdout and no trace; return what it says."""
        done = self.run(*arguments, **options)
        assert done.exit_code == code, (done.output, done.exception)
        assert isinstance(done.exception, SystemExit)
        assert done.stdout == ""
        assert "Error: " in done.stderr
        return done.stderr
