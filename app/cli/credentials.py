"""Reads a provider's credentials from files, standard input, the environment or a prompt: never from arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO, Any

import click

from app.providers.credentials import API_KEY, Credential

STDIN = "-"


class CredentialSource(click.ParamType[tuple[str, str | None]]):
    """`NAME=FILE`, or `NAME` alone for a credential that is asked for; the value is (name, file or None)."""

    name = "NAME=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str | None]:
        if isinstance(value, tuple):
            return value
        name, equals, path = str(value).partition("=")
        if not name or (equals and not path):
            self.fail("is NAME=FILE, or NAME for a prompt", param, ctx)
        return name, path or None


def variable_of(name: str) -> str:
    """Return the variable of the environment that may have the credential `name`."""
    return f"SLUICE_PROVIDER_{name.upper()}"


def read_credentials(
    declared: Iterable[Credential],
    sources: Collection[tuple[str, str | None]],
    key_file: IO[str] | None,
    *,
    asks_rest: bool,
) -> dict[str, str]:
    """Return the credentials that the operator gives, by name.

    What `sources` and `key_file` (for the API key) do not name comes from the environment. `asks_rest`: what is
    required and not there either is asked for; one that is secret without an echo.
    """
    by_name = {one.name: one for one in declared}
    if {name for name, _ in sources} - by_name.keys():
        # What was given is not repeated: it may be the credential itself.
        raise click.BadParameter(f"the adapter's are {', '.join(by_name)}", param_hint="--credential")
    if [path for _, path in sources].count(STDIN) + (key_file is not None and key_file.name == "<stdin>") > 1:
        raise click.UsageError("only one credential can come from standard input")
    given = {name: _read_file(path, f"--credential {name}") for name, path in sources if path is not None}
    if key_file is not None:
        given[API_KEY] = read_secret(key_file, "--api-key-file")
    asked = {name for name, path in sources if path is None}
    for name, one in by_name.items():
        if name in given:
            continue
        if value := os.environ.get(variable_of(name), "").strip():
            given[name] = value
        elif name in asked or (asks_rest and one.is_required):
            given[name] = _ask(one)
    return given


def read_secret(file: IO[str], option: str) -> str:
    """Return the text of a file without blanks around it. Raise BadParameter where there is none."""
    secret = file.read().strip()
    if not secret:
        raise click.BadParameter("is empty", param_hint=option)
    return secret


def _read_file(path: str, option: str) -> str:
    if path == STDIN:
        return read_secret(sys.stdin, option)
    try:
        with Path(path).open(encoding="utf-8") as file:
            return read_secret(file, option)
    except (OSError, ValueError):
        # The path is not repeated: it may be the credential itself.
        raise click.BadParameter("names no file of text that can be read", param_hint=option) from None


def _ask(credential: Credential) -> str:
    words = f"{credential.name} ({credential.help})"
    return str(click.prompt(words, hide_input=credential.is_secret, err=True)).strip()
