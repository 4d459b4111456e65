"""`sluice partitions`."""

from __future__ import annotations

import datetime
from typing import Any

import click

from app.cli.confirm import confirm
from app.cli.options import Moment, operator
from app.cli.output import json_option, print_json, print_rows, printable
from app.cli.stack import find_settings, open_runtime
from app.services.partitions.dropping import Drop, drop_before
from app.services.partitions.listing import show_partitions

_COLUMNS = {
    "name": "Partition",
    "from": "From",
    "to": "To",
    "rows": "Rows (about)",
    "bytes": "Bytes",
    "sealed": "Sealed",
    "open_cases": "Open cases",
    "droppable": "Droppable",
    "why": "Kept because",
}
_DROP_COLUMNS = {"name": "Partition", "rows": "Rows", "dropped": "Dropped", "why": "Kept because"}


@click.group("partitions", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the months of webhooks, notifications and audit, and drop those that nothing needs any more.

    Alone it does what `list` does.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_all, as_json=as_json)


@command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List partitions with their size and what keeps them; a month is from its first day to the next one's."""
    with open_runtime() as runtime:
        rows = show_partitions(runtime)
    print_rows(rows, _COLUMNS, as_json=as_json)


@command.command("drop")
@click.option("--before", type=Moment(), help="Drop what lies wholly before this time.")
@click.option("--keep-months", type=click.IntRange(1, 1_200), help="Or: keep this month and as many before it.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do at this moment.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(before: datetime.datetime | None, keep_months: int | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Drop whole months that nothing needs any more, with DATABASE_OWNER_URL; they cannot be got back.

    A month goes when its webhooks are settled, its notifications numbered, its audit sealed and proved, no row of it
    is missing, and no open payment, dead letter or case has rows in it. Of each table the oldest goes first. Each drop
    is told in the audit; entries, payments, seals and the keys of webhooks stay for ever.
    """
    if (before is None) == (keep_months is None):
        raise click.UsageError("say --before or --keep-months")
    if as_json and not (yes or dry_run):
        raise click.UsageError("with --json say --yes or --dry-run: nobody is asked")
    moment = before if before is not None else _months_ago(keep_months or 0)
    owner_url = find_settings().required("owner_database_url")
    if not dry_run and not yes:
        planned = drop_before(owner_url, moment, operator(), is_dry_run=True)
        _print(planned, is_dry_run=True, as_json=False)
        if all(each.why for each in planned):
            return
        confirm("", "Drop them? They cannot be got back.")
    _print(drop_before(owner_url, moment, operator(), dry_run), is_dry_run=dry_run, as_json=as_json)


def _months_ago(months: int) -> datetime.datetime:
    """Return the beginning of the month, in UTC, that lies so many months before this one."""
    today = datetime.datetime.now(datetime.UTC)
    years, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    return datetime.datetime(max(years, 1), month + 1, 1, tzinfo=datetime.UTC)


def _print(drops: list[Drop], *, is_dry_run: bool, as_json: bool) -> None:
    rows = [_row(each) for each in drops]
    if as_json:
        print_json({"dry_run": is_dry_run, "data": rows})
        return
    columns = {key: words for key, words in _DROP_COLUMNS.items() if key != "dropped" or not is_dry_run}
    print_rows(rows, columns, as_json=False, empty="No partition lies wholly before that.")
    count = sum(not each.why for each in drops)
    click.echo(printable(f"{count} partitions {'would be' if is_dry_run else 'were'} dropped."))


def _row(drop_: Drop) -> dict[str, Any]:
    partition = drop_.partition
    return {
        "table": partition.table,
        "name": partition.name,
        "from": partition.begins_at and partition.begins_at.date().isoformat(),
        "to": partition.ends_at and partition.ends_at.date().isoformat(),
        "rows": drop_.rows,
        "tenants": drop_.tenants,
        "dropped": drop_.is_dropped,
        "why": list(drop_.why),
    }
