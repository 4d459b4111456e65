"""The command `sluice reconcile`: compare payments with the provider's list."""

from __future__ import annotations

import datetime
import sys
import uuid

import click

from app.cli.options import Moment, operator
from app.cli.output import headings, json_option, print_json, print_rows
from app.cli.stack import open_runtime
from app.core.errors import ProviderCallFailed, ProviderUnusable
from app.services.operators import reconciliation
from app.services.operators.reconciliation import ReconciliationReport

# The exit code if the provider's list could not be read to its end.
EXIT_NOT_COMPARED = 3


@click.command("reconcile", short_help="Compare payments with the provider's list.")
@click.option("--provider", "provider_id", type=click.UUID, required=True, help="The provider's id.")
@click.option("--from", "start", type=Moment(), required=True, help="Payments created from this time on.")
@click.option("--to", "end", type=Moment(), help="Payments created before this time; now without it.")
@json_option
def command(provider_id: uuid.UUID, start: datetime.datetime, end: datetime.datetime | None, as_json: bool) -> None:
    """Compare payments with the provider's list and open a case for each difference; exit 0 if there is none, else 1.

    An open payment is settled by its state in the list, as by a poll. Other differences move no money and become
    dead letters of kind `reconciliation`. Differences whose case a person has closed are not reported again. Exit 3
    means that the list could not be read.
    """
    end = end or datetime.datetime.now(datetime.UTC)
    if start >= end:
        raise click.UsageError("--from is before --to")
    with open_runtime() as runtime:
        try:
            report = reconciliation.reconcile(runtime, provider_id, start, end, operator())
        except ProviderCallFailed as error:
            click.echo(f"Error: the provider's list could not be read: {error}", err=True)
            sys.exit(EXIT_NOT_COMPARED)
        except ProviderUnusable as error:
            click.echo(f"Error: the provider cannot be used as it is configured: {error}", err=True)
            sys.exit(EXIT_NOT_COMPARED)
    _print(report, as_json)
    sys.exit(1 if report.differences else 0)


def _print(report: ReconciliationReport, as_json: bool) -> None:
    counts = {name: getattr(report, name) for name in ("compared", "settled", "in_flight", "closed")}
    rows = [
        {"reason": one.reason, "payment_id": one.payment_id, "reference": one.reference, "detail": one.detail}
        for one in report.differences
    ]
    if as_json:
        print_json({"provider_id": report.provider_id, **counts, "differences": rows})
        return
    click.echo(
        f"{report.compared} payments compared, {report.settled} settled by it, {report.in_flight} in flight,"
        f" {report.closed} earlier cases closed, {len(rows)} differences."
    )
    if rows:
        columns = headings("reason payment_id reference detail")
        print_rows(rows, columns, as_json=False)
