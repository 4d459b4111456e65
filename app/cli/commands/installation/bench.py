"""`sluice bench`: measures this machine, the product and the usual ways of doing its work, side by side."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.output import json_option, print_json, print_table
from app.local.processes import ROOT


@click.command("bench", short_help="Measures the product beside its baselines.")
@json_option
@click.option("--long", "is_long", is_flag=True, help="The long form: more rows, ten million payments of history.")
@click.option("--only", metavar="KEY", help="Measure one key alone; nothing is written then.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "bench",
    show_default="bench",
    help="Where RESULTS.md and its plots go.",
)
def command(as_json: bool, is_long: bool, only: str | None, results: Path) -> None:
    """Measure every key of bench/RESULTS.md in one run and write that page anew.

    Needs no running stack: it starts servers and processes of its own, in a temporary folder (TMPDIR), and end them.
    On two quiet processors the short form takes less than five minutes; the long one some thirty, and 60 GB of disk.
    With --only the long settle_at_10m takes some twenty minutes, nearly all of it to fill ten million payments.
    """
    # Not above: every other command would load it too.
    from bench.results import WHAT, write_results
    from bench.run import KEYS, Form, run

    if only is not None and only not in KEYS:
        raise click.UsageError(f"no key {only!r}; there are {', '.join(KEYS)}")
    figures = run(Form(is_long), only, lambda line: click.echo(line, err=True))
    if only is None:
        click.echo(f"written: {write_results(figures, results)}", err=True)
    if as_json:
        print_json(figures)
        return
    rows = [{"key": key, "what": WHAT.get(key), **figures[key]} for key in KEYS if key in figures]
    columns = {"key": "Key", "median": "Median", "spread": "Spread", "goal": "Goal", "unit": "Unit", "met": "Met"}
    print_table(rows, columns)
