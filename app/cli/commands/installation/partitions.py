"""The command `sluice partitions`: list monthly partitions and drop old ones."""

from __future__ import annotations

import datetime
from typing import Any

import click

from app.cli.confirm import confirm, dry_run_option
from app.cli.options import Moment, operator
from app.cli.output import headings, json_option, print_json, print_rows, printable
from app.cli.stack import find_settings, open_runtime
from app.services.partitions.dropping import Drop, drop_before
from app.services.partitions.listing import show_partitions

_COLUMNS = headings(
    "name from to rows bytes open_cases droppable why", name="Partition", rows="Rows (about)", why="Kept because"
)
_DROP_COLUMNS = headings("name rows dropped why", name="Partition", why="Kept because")


@click.group("partitions", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the monthly partitions of webhooks, notifications and audit, and drop those no longer needed.

    Without a subcommand it lists them.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_all, as_json=as_json)


@command.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List partitions with their size and the reasons that keep them; `To` is exclusive."""
    with open_runtime() as runtime:
        rows = show_partitions(runtime)
    print_rows(rows, _COLUMNS, as_json=as_json)


@command.command("drop")
@click.option("--before", type=Moment(), help="Drop partitions wholly before this time.")
@click.option("--keep-months", type=click.IntRange(1, 1_200), help="Or: keep this month and so many before it.")
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(before: datetime.datetime | None, keep_months: int | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Drop months that are no longer needed, with DATABASE_OWNER_URL. This cannot be undone.

    A month is dropped when its webhooks are settled, its notifications numbered, its audit log sealed and proved, no
    row of it is missing, and no open payment, dead letter or case has rows in it; in each table the oldest first. Each
    drop is recorded in the audit log. Entries, payments, seals and the ids of webhooks are never dropped.
    """
    if (before is None) == (keep_months is None):
        raise click.UsageError("give either --before or --keep-months")
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json needs --yes or --dry-run: it does not ask")
    moment = before if before is not None else _months_ago(keep_months or 0)
    owner_url = find_settings().required("owner_database_url")
    if not dry_run and not yes:
        planned = drop_before(owner_url, moment, operator(), is_dry_run=True)
        _print(planned, is_dry_run=True, as_json=False)
        if all(each.why for each in planned):
            return
        confirm("", "Drop them? This cannot be undone.")
    _print(drop_before(owner_url, moment, operator(), dry_run), is_dry_run=dry_run, as_json=as_json)


def _months_ago(months: int) -> datetime.datetime:
    """Return the start of the month, in UTC, that is `months` before this one."""
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
