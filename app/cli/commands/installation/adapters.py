"""The command `sluice adapters`: list the adapters, and examine one against its emulator."""

from __future__ import annotations

import sys
from collections import Counter

import click
from rich.table import Table
from rich.text import Text

from app.cli.adapter_rows import list_rows
from app.cli.options import AdapterName, WebAddress
from app.cli.output import console, headings, json_option, print_json, print_rows, printable
from app.conformance.kit import CaseResult, CaseState, run_cases
from app.conformance.sandbox_emulator import SandboxRefused
from app.conformance.subjects import SUBJECTS, find_subject, list_subjects, open_emulators
from app.providers.registry import load_registry

_STYLES = {CaseState.PASSED: "green", CaseState.FAILED: "bold red", CaseState.NOT_APPLICABLE: "dim"}

_COLUMNS = headings("name package can needs problem", can="What it can", needs="What it needs")


@click.group("adapters", short_help="List and examine adapters of providers.")
def command() -> None:
    """List the adapters of providers that are installed, and examine one. Other packages may bring more."""


@command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the adapters, what each can, and what it needs."""
    print_rows(list_rows(load_registry(frozenset()), as_json=as_json), _COLUMNS, as_json=as_json)


@command.command("test")
@click.argument("name", type=AdapterName())
@click.option("--url", type=WebAddress(), help="A running sandbox; without it one is started for the run.")
@json_option
def test(name: str, url: str | None, as_json: bool) -> None:
    """Run the conformance kit for the adapter NAME against its emulator; exit 1 if a case fails.

    One line for each case: pass, FAIL with the reason, or not applicable with what the adapter declares. Needs no
    database. An adapter of another package is examined against the emulator that the package brings.
    """
    if name not in list_subjects():
        raise click.ClickException(f"{name} has no emulator; docs/ADAPTERS.md says how its package brings one")
    if url is not None and name not in SUBJECTS:
        raise click.UsageError(f"--url names a sandbox, and {name} is examined against the emulator of its package")
    try:
        with open_emulators(name, url) as open_emulator, console(stderr=True).status(f"Examining {name}"):
            results = list(run_cases(find_subject(name), open_emulator))
    except SandboxRefused as error:
        raise click.ClickException(str(error)) from None
    totals = Counter(result.state for result in results)
    if as_json:
        print_json({"adapter": name, "ok": not totals[CaseState.FAILED], "data": [_describe(each) for each in results]})
    else:
        _print(results, totals)
    sys.exit(1 if totals[CaseState.FAILED] else 0)


def _describe(result: CaseResult) -> dict[str, str]:
    case = result.case
    return {"case": case.name, "sentence": case.sentence, "state": result.state, "detail": result.detail}


def _print(results: list[CaseResult], totals: Counter[CaseState]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for result in results:
        state = Text(result.state, style=_STYLES[result.state])
        table.add_row(state, Text(result.case.name), Text(printable(result.detail or result.case.sentence)))
    console().print(table)
    click.echo("\n" + ", ".join(f"{totals[state]} {state}" for state in CaseState))
