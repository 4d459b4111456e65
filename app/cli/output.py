"""Print results of commands: tables for people, or with `--json` one JSON document and nothing else on stdout."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.core.payment import format_time

# Width of output into a pipe or file; no cell is longer than this.
PIPE_COLUMNS = 400

_F = TypeVar("_F", bound=Callable[..., Any])


def json_option(function: _F) -> _F:
    """Add `--json` to a command, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")(function)


def console(*, stderr: bool = False) -> Console:
    """Return a console that neither wraps nor colours output into a pipe."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=PIPE_COLUMNS)


def plain(value: Any) -> Any:
    """Return a row's value as JSON has it: ids and times as text, times RFC 3339."""
    if isinstance(value, datetime.datetime):
        return format_time(value)
    if isinstance(value, uuid.UUID | decimal.Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def print_json(document: Any) -> None:
    """Print `document` as JSON."""
    click.echo(json.dumps(plain(document), indent=2, ensure_ascii=False))


def cell(value: Any) -> Text:
    """Return a table cell; markup and control characters in the value have no effect."""
    if value is None or value in ("", [], (), {}):
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime.datetime):
        return Text(value.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ"))
    if isinstance(value, list | tuple):
        return Text(printable(", ".join(str(item) for item in value)))
    if isinstance(value, Mapping):
        return Text(printable(", ".join(f"{key}={item}" for key, item in value.items())))
    return Text(printable(str(value)))


def printable(value: str) -> str:
    """Return `value` with control characters escaped: foreign data must not control the terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in value)


def headings(keys: str, **named: str) -> dict[str, str]:
    """Return the heading of each of the `keys`, divided by spaces: the one in `named`, or else the key in words."""
    return {key: named.get(key, _in_words(key)) for key in keys.split()}


def _in_words(key: str) -> str:
    """Return `tenant_id` as `Tenant`, `last_used_at` as `Last used`."""
    return key.removesuffix("_id").removesuffix("_at").replace("_", " ").capitalize()


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str = "None.") -> None:
    """Print rows as a table; `columns` maps a row's key to its heading."""
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(key)) for key in columns))
    console().print(table)


def print_fields(row: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Print one object as two columns; `labels` maps a key to its label."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, label in labels.items():
        table.add_row(label, cell(row.get(key)))
    console().print(table)


def print_result(document: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """Print the result of a command: with `as_json` the document, else the sentence."""
    print_json(document) if as_json else click.echo(sentence)


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool, empty: str = "None."
) -> None:
    """Print a list: with `as_json` as `{"data": [...]}` with all fields, else the named columns as a table."""
    if as_json:
        print_json({"data": rows})
    else:
        print_table(rows, columns, empty)


def print_object(row: Mapping[str, Any], labels: Mapping[str, str], *, as_json: bool) -> None:
    """Print one object: with `as_json` all its fields, else the labelled ones."""
    if as_json:
        print_json(row)
    else:
        print_fields(row, labels)
