"""The command `sluice doctor`: check the installation."""

from __future__ import annotations

import sys
from collections import Counter

import click
from rich.table import Table
from rich.text import Text

from app.cli.output import console, json_option, print_json, printable
from app.cli.stack import open_runtime
from app.doctor import Level, examine

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@click.command("doctor", short_help="Check the installation.")
@json_option
def command(as_json: bool) -> None:
    """Check the installation: OK, WARN or FAIL for each check; exit 1 if any is FAIL.

    Changes nothing and prints no secret.
    """
    with open_runtime() as runtime, console(stderr=True).status("Checking"):
        found = list(examine(runtime))
    totals = Counter(finding.level for _, finding in found)
    if as_json:
        findings = [
            {"level": finding.level, "area": area, "check": finding.check, "detail": finding.detail}
            for area, finding in found
        ]
        print_json(
            {"ok": not totals[Level.FAIL], "totals": {level: totals[level] for level in Level}, "data": findings}
        )
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for _, finding in found:
            level = Text(finding.level.upper(), style=_STYLES[finding.level])
            table.add_row(level, Text(finding.check), Text(printable(finding.detail)))
        console().print(table)
        click.echo(f"\n{totals[Level.OK]} OK, {totals[Level.WARN]} WARN, {totals[Level.FAIL]} FAIL")
    sys.exit(1 if totals[Level.FAIL] else 0)
