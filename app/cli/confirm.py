"""Ask for confirmation before a command acts, and read the reason for the audit log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from app.cli.output import printable
from app.core.validation.reason import REASON_LENGTH_MAX, check_reason

_F = TypeVar("_F", bound=Callable[..., Any])


class NoConfirmation(click.ClickException):
    """No answer to a question: stdin is closed or empty, and --yes is missing."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__("nothing was done: no answer can be read here. Repeat the command with --yes")


class Reason(click.ParamType[str]):
    """An operator's reason, as the audit log keeps it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_reason(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def yes_option(function: _F) -> _F:
    """Add `--yes`, as the argument `yes`."""
    return click.option("--yes", is_flag=True, help="Do it without asking.")(function)


def dry_run_option(function: _F) -> _F:
    """Add `--dry-run`, as the argument `dry_run`."""
    return click.option("--dry-run", is_flag=True, help="Only print the present effect.")(function)


def reason_option(function: _F) -> _F:
    """Add `--reason`, as the argument `reason`."""
    text = f"Why, for the audit; up to {REASON_LENGTH_MAX} characters."
    return click.option("--reason", type=Reason(), help=text)(function)


def confirm_at_terminal(effect: str, question: str) -> None:
    """Ask as `confirm` does if stdin is a terminal; scripts are not asked.

    For changes that revoke access and move no money, which scripts make to rotate keys.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        confirm(effect, question)


def confirm(effect: str, question: str) -> None:
    """Show the effect (an empty text: it was shown already) and ask; return only if the answer is yes.

    Both go to stderr: stdout carries the command's result. Raise NoConfirmation (exit 2) where no answer
    comes, click.ClickException (exit 1) for a no.
    """
    for line in effect.splitlines():
        click.echo(printable(line), err=True)
    try:
        is_sure = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise  # Ctrl-C or Ctrl-D at a terminal.
        click.echo(err=True)
        raise NoConfirmation from None
    if not is_sure:
        raise click.ClickException("nothing was done")
