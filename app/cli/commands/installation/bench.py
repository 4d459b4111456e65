"""The command `sluice bench`: measure this machine, the product and its baselines."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.output import headings, json_option, print_json, print_table
from app.local.processes import ROOT


@click.command("bench", short_help="Measure the product and its baselines.")
@json_option
@click.option("--long", "is_long", is_flag=True, help="More rows, and ten million payments of history.")
@click.option("--only", metavar="KEY", help="Measure only this key and write nothing.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "bench",
    show_default="bench",
    help="Folder for RESULTS.md and its plots.",
)
def command(as_json: bool, is_long: bool, only: str | None, results: Path) -> None:
    """Measure every key of bench/RESULTS.md and rewrite that page.

    Needs no running stack: it starts and stops its own servers and processes in a temporary folder (TMPDIR).
    On two idle processors the short form takes some ten minutes, --long about an hour and 60 GB of disk.
    `--long --only settle_at_10m` takes about twenty minutes, mostly to insert ten million payments.
    """
    # Imported here, so that other commands do not load it.
    from bench.report.results import WHAT, write_results
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
    columns = headings("key median spread goal unit met")
    print_table(rows, columns)
