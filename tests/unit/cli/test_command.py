"""The real `sluice` command: help, version, and errors without a stack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from tests.support.repository import ROOT


def sluice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, with nothing of the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=ROOT,
        env=kept | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def invoke(*arguments: str, **environment: str) -> Result:
    """Run a command in this process, with nothing of the caller's own settings."""
    settings = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "BROKER_URL", "SLUICE_ENCRYPTION_KEYS")
    return CliRunner().invoke(main, arguments, env=dict.fromkeys(settings) | environment)


def walk(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """List every command below `group` with the words that call it."""
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += walk(command, (*path, name))
    return found


COMMANDS = walk(main)  # type: ignore[arg-type]
# These print no data: they become or run something.
SILENT = {("up",), ("process",)}


def test_help_names_every_command() -> None:
    done = invoke("--help")
    assert done.exit_code == 0
    for path, _ in COMMANDS:
        if len(path) == 1:
            assert f"  {path[0]} " in done.stdout


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_is_in_its_document(path: tuple[str, ...]) -> None:
    lines = (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith(f"| `sluice {path[0]}")]
    assert any(path[-1] in row.split(" | ")[0] for row in rows)


def test_version() -> None:
    done = sluice("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("sluice ")


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    assert command.name == path[-1]


@pytest.mark.parametrize(
    ("path", "command"),
    [
        pytest.param(path, command, id=" ".join(path))
        for path, command in COMMANDS
        if not isinstance(command, click.Group) and path not in SILENT
    ],
)
def test_every_command_that_prints_data_has_json(path: tuple[str, ...], command: click.Command) -> None:
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("tenants", "nothing"), ("keys", "create"), ("payments", "show", "7")]
)
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = invoke(*arguments, SLUICE_HOME=str(tmp_path))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr


def test_no_stack_is_exit_1_and_one_line(tmp_path: Path) -> None:
    done = sluice("tenants", "list", "--json", SLUICE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: no stack is ready in ")
    assert "Traceback" not in done.stderr


def test_a_database_that_is_away_is_exit_1_and_shows_no_password(tmp_path: Path) -> None:
    done = sluice(
        "tenants",
        "list",
        SLUICE_HOME=str(tmp_path),
        DATABASE_URL="postgresql://login:hidden-word@127.0.0.1:9/sluice",
        REDIS_URL="redis://127.0.0.1:9/0",
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the database says: " in done.stderr
    assert "hidden-word" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_setting_names_the_variable(tmp_path: Path) -> None:
    done = invoke("demo", SLUICE_HOME=str(tmp_path), SLUICE_PORT="eighty")
    assert done.exit_code == 1
    assert "SLUICE_PORT" in done.stderr


@pytest.mark.parametrize(
    ("name", "environment", "said"),
    [
        ("web", {}, "DATABASE_URL is not set"),
        ("web", {"DATABASE_URL": "postgresql://x@127.0.0.1:9/x"}, "REDIS_URL is not set"),
        ("sockets", {"DATABASE_URL": "postgresql://x@127.0.0.1:9/x", "REDIS_URL": "redis://x"}, "SLUICE_SOCKETS_PORT"),
        (
            "worker-provider",
            {"DATABASE_URL": "postgresql://x@127.0.0.1:9/x", "REDIS_URL": "redis://x"},
            "ENCRYPTION_KEYS",
        ),
    ],
)
def test_a_process_says_at_once_what_is_missing(
    name: str, environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    done = sluice("process", name, SLUICE_HOME=str(tmp_path), **environment)
    assert done.returncode == 1
    assert said in done.stderr.upper() or said in done.stderr


def test_an_unknown_process_lists_those_there_are(tmp_path: Path) -> None:
    done = sluice("process", "webb", SLUICE_HOME=str(tmp_path))
    assert done.returncode == 2
    for name in ("web", "sockets", "worker-settle", "worker-provider", "beat", "flower", "sandbox"):
        assert name in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--amount", "0"), ("--amount", "1e3"), ("--amount", "1.001"), ("--currency", "usd"), ("--currency", "XXX")],
)
def test_demo_refuses_what_is_no_money(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = invoke("demo", *arguments, SLUICE_HOME=str(tmp_path))
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
