"""`sluice dead-letters`."""

from __future__ import annotations

import uuid
from typing import Any

import click

from app.cli.options import Duration, limit_option, operator, tenant_option
from app.cli.output import json_option, print_fields, print_json, print_rows, printable
from app.cli.stack import open_runtime
from app.runtime import Runtime
from app.services import cases, dead_letters, redrive
from app.services.dead_letters import KINDS, STATES, Filters
from app.services.tenants import find_tenant

_COLUMNS = {
    "id": "Id",
    "kind": "Kind",
    "reason": "Reason",
    "amount": "Amount",
    "currency": "Currency",
    "payment_id": "Payment",
    "state": "State",
    "created_at": "Since",
}
_ALL = _COLUMNS | {
    "detail": "Detail",
    "provider_id": "Provider",
    "provider_reference": "Provider's reference",
    "webhook_id": "Webhook",
    "attempts": "Attempts",
    "closed_at": "Closed",
    "closed_by": "Closed by",
    "headers": "Headers",
    "body_base64": "Body (base64)",
    "history": "History",
}
_AGE = Duration(10 * 365 * 86_400)

_filter_option = click.option(
    "--filter",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="reason=, kind=, provider=, payment= or older-than= (90s, 15m, 24h, 7d); repeatable.",
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what it would do at this moment.")


@click.group("dead-letters")
def command() -> None:
    """Shows work that a person must look at, and carries out what the person decides."""


@command.command("list")
@tenant_option()
@_filter_option
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True)
@limit_option
@json_option
def list_all(tenant: str | None, words: tuple[str, ...], state: str, limit: int, as_json: bool) -> None:
    """Lists dead letters, newest first."""
    with open_runtime() as runtime:
        rows = dead_letters.list_dead_letters(runtime.database, _read(runtime, tenant, words, state), limit)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="No such dead letters.")


@command.command("show")
@click.argument("dead_letter_id", metavar="ID", type=click.UUID)
@json_option
def show(dead_letter_id: uuid.UUID, as_json: bool) -> None:
    """Shows a dead letter with its raw bytes, headers and history."""
    with open_runtime() as runtime:
        found = dead_letters.read_dead_letter(runtime.database, None, dead_letter_id)
    print_json(found) if as_json else print_fields(found, _ALL)


@command.command("redrive")
@click.argument("dead_letter_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@tenant_option()
@_filter_option
@_dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask before many are redriven.")
@limit_option
@json_option
def redrive_some(
    dead_letter_ids: tuple[uuid.UUID, ...],
    tenant: str | None,
    words: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Makes the work of dead letters due again: those named, or with --filter all open ones that fit.

    First the count is told. A webhook is settled anew, judged as when it was received; a provider call is made anew.
    Doing it twice does no harm. Many come due at a limited pace.
    """
    if bool(dead_letter_ids) == bool(words):
        raise click.UsageError("name dead letters, or say with --filter which ones")
    with open_runtime() as runtime:
        if dead_letter_ids:
            tenant_id = find_tenant(runtime, tenant) if tenant else None
            effects = [_redrive_one(runtime, tenant_id, one, dry_run) for one in dead_letter_ids]
            _print_effects(effects, len(effects), dry_run, as_json)
            return
        filters = _read(runtime, tenant, words, "open")
        count = dead_letters.count_dead_letters(runtime.database, filters)
        if not as_json:
            click.echo(f"{count} open dead letters fit; {min(count, limit)} of them are taken.")
        if count and not dry_run and not yes and not as_json:
            click.confirm("Redrive them?", abort=True)
        effects = [_row(one) for one in redrive.redrive_many(runtime, filters, limit, operator(), dry_run)]
    _print_effects(effects, count, dry_run, as_json)


@command.command("accept")
@click.argument("dead_letter_id", metavar="ID", type=click.UUID)
@_dry_run_option
@json_option
def accept(dead_letter_id: uuid.UUID, dry_run: bool, as_json: bool) -> None:
    """Credits the money in a dead letter, as it was received."""
    with open_runtime() as runtime:
        effect = cases.accept(runtime, _tenant_of(runtime, dead_letter_id), dead_letter_id, operator(), dry_run)
    _print_effect(dead_letter_id, effect, dry_run, as_json)


@command.command("reject")
@click.argument("dead_letter_id", metavar="ID", type=click.UUID)
@_dry_run_option
@json_option
def reject(dead_letter_id: uuid.UUID, dry_run: bool, as_json: bool) -> None:
    """Closes a dead letter without a credit."""
    with open_runtime() as runtime:
        effect = cases.reject(runtime, _tenant_of(runtime, dead_letter_id), dead_letter_id, operator(), dry_run)
    _print_effect(dead_letter_id, effect, dry_run, as_json)


def _tenant_of(runtime: Runtime, dead_letter_id: uuid.UUID, tenant_id: uuid.UUID | None = None) -> uuid.UUID:
    """Returns whose dead letter it is. Raises RequestRejected (404) where it is none of `tenant_id`'s."""
    return uuid.UUID(dead_letters.read_dead_letter(runtime.database, tenant_id, dead_letter_id)["tenant_id"])


def _redrive_one(
    runtime: Runtime, wanted_tenant: uuid.UUID | None, dead_letter_id: uuid.UUID, is_dry_run: bool
) -> dict[str, Any]:
    tenant_id = _tenant_of(runtime, dead_letter_id, wanted_tenant)
    return _row(redrive.redrive(runtime, tenant_id, dead_letter_id, operator(), is_dry_run))


def _row(effect: redrive.Effect) -> dict[str, Any]:
    return {"id": effect.dead_letter_id, "redriven": effect.is_redriven, "effect": effect.effect}


def _print_effects(effects: list[dict[str, Any]], count: int, is_dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"count": count, "dry_run": is_dry_run, "data": effects})
    else:
        columns = {"id": "Id", "redriven": "Redriven", "effect": "It would do now" if is_dry_run else "It does now"}
        print_rows(effects, columns, as_json=False, empty="No such dead letters.")


def _print_effect(dead_letter_id: uuid.UUID, effect: str, is_dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"id": dead_letter_id, "dry_run": is_dry_run, "effect": effect})
    else:
        click.echo(("Would be " if is_dry_run else "") + printable(effect))


def _read(runtime: Runtime, tenant: str | None, words: tuple[str, ...], state: str) -> Filters:
    """Returns the filters that `NAME=VALUE` words name. Raises click.UsageError."""
    values: dict[str, Any] = {"tenant_id": find_tenant(runtime, tenant) if tenant else None, "state": state}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in _READERS:
            raise click.UsageError(f"{word!r} is none of {', '.join(f'{known}=' for known in _READERS)}")
        field, read = _READERS[name]
        try:
            values[field] = read(value)
        except ValueError:
            raise click.UsageError(f"{value!r} is no value for {name}") from None
    return Filters(**values)


def _read_kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(value)
    return value


_READERS: dict[str, tuple[str, Any]] = {
    "reason": ("reason", str),
    "kind": ("kind", _read_kind),
    "provider": ("provider_id", uuid.UUID),
    "payment": ("payment_id", uuid.UUID),
    "older-than": ("older_than_seconds", lambda value: _AGE.convert(value, None, None)),
}
