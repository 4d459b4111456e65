"""The root of the command line: find the commands, and print an expected error in one line."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from typing import Any

import click
import structlog
from alembic.util import CommandError
from redis.exceptions import RedisError
from requests import RequestException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.cli import commands
from app.core.errors import RequestRejected
from app.local.embedded import ServerUnavailable
from app.local.supervisor import StartFailed
from app.runtime.settings import SettingsError
from app.runtime.vault import VaultError
from app.services.tenants.changes import ConfigurationError
from models.postgres_version import UnsupportedServer

# Errors that an operator can correct; any other is a bug, and its traceback is printed.
_EXPECTED = (
    *(SettingsError, ConfigurationError, VaultError, RequestRejected, ServerUnavailable),
    *(SQLAlchemyError, RedisError, RequestException, OSError, StartFailed, CommandError, UnsupportedServer),
)


class CommandLine(click.Group):
    """A group whose commands are the modules in the rooms of `app.cli.commands`, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *find_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = find_commands().get(cmd_name)
        command: click.Command | None = importlib.import_module(module).command if module else None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # The reader of a pipe has ended, as in `sluice ... | head`: click exits quietly.
        except _EXPECTED as error:
            raise click.ClickException(describe_error(error)) from None


@functools.cache
def find_commands() -> dict[str, str]:
    """Return the module of each command by the command's name."""
    modules = pkgutil.walk_packages(commands.__path__, f"{commands.__name__}.")
    return {module.name.rpartition(".")[2].replace("_", "-"): module.name for module in modules if not module.ispkg}


def describe_error(error: BaseException) -> str:
    """Return the error in one line, without the statement and the values of a database error."""
    if isinstance(error, DBAPIError):
        return f"the database says: {str(error.orig).strip().splitlines()[0]}"
    if isinstance(error, RedisError):
        return f"Redis says: {error}"
    if isinstance(error, RequestRejected) and error.errors:
        return " ".join([str(error), *(f"{one['field']}: {one['message']}" for one in error.errors)])
    return str(error) or (type(error).__doc__ or type(error).__name__).strip()


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sluice", message="sluice %(version)s")
def main() -> None:
    """Sluice: takes deposits, credits wallets exactly once, notifies browsers live.

    Commands find the running stack through SLUICE_HOME/run.json, or through the environment (DATABASE_URL,
    REDIS_URL, SLUICE_ENCRYPTION_KEYS, ...), which wins.
    """
    # Logs go to stderr: stdout may carry a JSON document. The lambda reads sys.stderr at each message.
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
