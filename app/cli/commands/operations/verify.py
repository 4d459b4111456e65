"""The command `sluice verify`: verify the ledger and the audit log."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.options import tenant_option
from app.cli.output import console, json_option, print_json, printable
from app.cli.stack import open_runtime
from app.runtime.runtime import Runtime
from app.services import verification
from app.services.audit_chain import heads as seal_heads
from app.services.audit_chain.heads import HeadFileError
from app.services.tenants.tenants import find_tenant
from app.services.verification import ProofReport
from app.services.verification.checks import Violation

# Rows printed of each broken invariant; --json has more.
ROWS_PRINTED = 10

_HEADS = "the chain of seals continues from the head that was kept outside the database"


@click.command("verify", short_help="Verify the ledger and the audit log.")
@click.option("--full", is_flag=True, help="Read every row again.")
@tenant_option()
@click.option(
    "--check-head",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of seal heads written earlier.",
)
@click.option(
    "--write-head", type=click.Path(dir_okay=False, path_type=Path), help="Write the seal heads to this file."
)
@json_option
def command(full: bool, tenant: str | None, check_head: Path | None, write_head: Path | None, as_json: bool) -> None:
    """Verify the ledger and the audit log while the system runs; exit 0 if every invariant holds, else 1.

    Few rows are all read. Of many, those since the last successful proof are read; --full reads all. Open cases, dead
    letters and work in flight are no violations. A file of heads, kept out of reach of whoever can change the database,
    also shows whether the end of the audit log was cut off or rewritten.
    """
    with open_runtime() as runtime:
        report = _prove(runtime, full, tenant)
        if check_head is not None:
            _check_heads(runtime, report, check_head)
        if write_head is not None:
            _write_heads(runtime, report, write_head)
        verification.record(runtime.database, report)
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report)
    sys.exit(0 if report.is_whole else 1)


def _prove(runtime: Runtime, full: bool, tenant: str | None) -> ProofReport:
    tenant_id = find_tenant(runtime, tenant) if tenant else None
    mode = "full" if full else verification.choose_mode(runtime.database)
    screen = console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        tasks = {}

        def progress(name: str, rows: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=None)
            bars.advance(tasks[name], rows)

        return verification.prove(runtime.database, mode, tenant_id, progress=progress)


def _check_heads(runtime: Runtime, report: ProofReport, path: Path) -> None:
    wanted = None if report.tenant_id is None else str(report.tenant_id)
    try:
        heads = [head for head in seal_heads.load_heads(path).values() if wanted in (None, head.tenant_id)]
    except HeadFileError as error:
        raise click.ClickException(str(error)) from None
    _add_broken(report, seal_heads.find_broken_heads(runtime.database, heads))
    report.count("kept heads", len(heads))


def _write_heads(runtime: Runtime, report: ProofReport, path: Path) -> None:
    # A contradiction to heads already in the file is a violation, as with --check-head.
    heads = seal_heads.read_heads(runtime.database, report.tenant_id)
    try:
        _add_broken(report, seal_heads.write_heads(runtime.database, path, heads))
    except HeadFileError as error:
        raise click.ClickException(str(error)) from None


def _add_broken(report: ProofReport, heads: list[seal_heads.Head]) -> None:
    chains = [f"tenant {head.tenant_id}, chain {head.chain}, seal {head.number}" for head in heads]
    report.add([Violation("I12", _HEADS, chain, "cut off, or written anew") for chain in chains])


def print_report(report: ProofReport) -> None:
    """Print the verdict in one line, then each broken invariant with its first rows."""
    for each in report.in_order:
        click.echo(f"{each.invariant} does not hold: {each.statement} ({each.count} rows)")
        for row in each.rows[:ROWS_PRINTED]:
            click.echo(printable(f"    {row['subject']}: {row['detail']}".rstrip(": ")))
        if each.count > ROWS_PRINTED:
            click.echo(f"    and {each.count - ROWS_PRINTED} more")
    click.echo(report.verdict)
