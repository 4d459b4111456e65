"""The command `sluice dead-letters`: list, redrive, accept and reject dead letters."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from app.cli.confirm import confirm, dry_run_option, reason_option, yes_option
from app.cli.options import Duration, limit_option, operator, tenant_option
from app.cli.output import headings, json_option, print_fields, print_json, print_result, print_rows, printable
from app.cli.stack import open_runtime
from app.runtime.runtime import Runtime
from app.services.operators import dead_letters, redrive, resolve
from app.services.operators.dead_letters import DeadLetterFilters
from app.services.records.dead_letters import KINDS, STATES
from app.services.tenants.tenants import find_tenant

_COLUMNS = headings("id kind reason amount currency payment_id state created_at", created_at="Since")
_ALL = _COLUMNS | headings(
    "detail provider_id provider_reference webhook_id attempts closed_at closed_by headers body_base64 history",
    provider_reference="Provider's reference",
    body_base64="Body (base64)",
)
_AGE = Duration(10 * 365 * 86_400)
# Effects listed before a question about many dead letters: about a screen.
_EFFECTS_SHOWN = 20

_filter_option = click.option(
    "--filter",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="reason=, kind=, provider=, payment= or older-than= (90s, 15m, 24h, 7d); repeatable.",
)


@click.group("dead-letters")
def command() -> None:
    """Show, redrive, accept or reject dead letters: work that needs a person."""


@command.command("list")
@tenant_option()
@_filter_option
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True)
@limit_option
@json_option
def list_all(tenant: str | None, words: tuple[str, ...], state: str, limit: int, as_json: bool) -> None:
    """List dead letters, newest first."""
    with open_runtime() as runtime:
        rows = dead_letters.list_dead_letters(runtime.database, _read(runtime, tenant, words, state), limit)
    print_rows(rows, _COLUMNS, as_json=as_json, empty="No such dead letters.")


@command.command("show")
@click.argument("dead_letter_id", metavar="ID", type=click.UUID)
@json_option
def show(dead_letter_id: uuid.UUID, as_json: bool) -> None:
    """Show a dead letter with its raw bytes, headers and history."""
    with open_runtime() as runtime:
        found = dead_letters.read_dead_letter(runtime.database, None, dead_letter_id)
    print_json(found) if as_json else print_fields(found, _ALL)


@command.command("redrive")
@click.argument("dead_letter_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@tenant_option()
@_filter_option
@dry_run_option
@yes_option
@reason_option
@limit_option
@json_option
def redrive_some(
    dead_letter_ids: tuple[uuid.UUID, ...],
    tenant: str | None,
    words: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    reason: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Redrive dead letters: those named, or with --filter all open ones that match.

    A webhook is settled again, with the time of its receipt; a provider call is repeated. Redriving twice is harmless.
    Many become due at a limited rate. With --filter, and where a named one moves money, the effect is shown and
    confirmation is asked for.
    """
    if bool(dead_letter_ids) == bool(words):
        raise click.UsageError("name dead letters, or select them with --filter")
    with open_runtime() as runtime:
        if dead_letter_ids:
            tenant_id = find_tenant(runtime, tenant) if tenant else None
            named = [dead_letters.read_dead_letter(runtime.database, tenant_id, one) for one in dead_letter_ids]
            count, run = len(named), partial(_redrive_named, runtime, named)
        else:
            filters = _read(runtime, tenant, words, "open")
            count = dead_letters.count_dead_letters(runtime.database, filters)
            if not as_json:
                click.echo(f"{count} open dead letters match; {min(count, limit)} of them are redriven.")
            run = partial(redrive.redrive_many, runtime, filters, limit, operator())
        if count and not dry_run and not yes:
            planned = run(True)
            # Of those named only a webhook can move money: a provider call is repeated with the same idempotency key.
            if words or any(effect.moves_money for effect in planned):
                _confirm_effects(planned)
        effects = run(dry_run, reason)
    rows = [{"id": one.dead_letter_id, "redriven": one.is_redriven, "effect": one.effect} for one in effects]
    if as_json:
        print_json({"count": count, "dry_run": dry_run, "data": rows})
    else:
        columns = {"id": "Id", "redriven": "Redriven", "effect": "It would do now" if dry_run else "It does now"}
        print_rows(rows, columns, as_json=False, empty="No such dead letters.")


def _redrive_named(
    runtime: Runtime, named: list[dict[str, Any]], is_dry_run: bool, reason: str | None = None
) -> list[redrive.Effect]:
    return [
        redrive.redrive(runtime, uuid.UUID(one["tenant_id"]), uuid.UUID(one["id"]), operator(), is_dry_run, reason)
        for one in named
    ]


def _confirm_effects(effects: list[redrive.Effect]) -> None:
    lines = [f"{effect.dead_letter_id}: {effect.effect}" for effect in effects[:_EFFECTS_SHOWN]]
    if len(effects) > _EFFECTS_SHOWN:
        lines.append(f"and {len(effects) - _EFFECTS_SHOWN} more (--dry-run shows all)")
    confirm("\n".join(lines), "Redrive them?")


def _add_decision(name: str, decide: Callable[..., str], help_text: str) -> None:
    @command.command(name, help=f"{help_text} Shows the effect and asks for confirmation.")
    @click.argument("dead_letter_id", metavar="ID", type=click.UUID)
    @dry_run_option
    @yes_option
    @reason_option
    @json_option
    def decision(dead_letter_id: uuid.UUID, dry_run: bool, yes: bool, reason: str | None, as_json: bool) -> None:
        with open_runtime() as runtime:
            found = dead_letters.read_dead_letter(runtime.database, None, dead_letter_id)
            named = (runtime, uuid.UUID(found["tenant_id"]), dead_letter_id, operator())
            if not dry_run and not yes:
                confirm(f"{_summarize(found)}\nWould be {decide(*named, True)}", f"{name.capitalize()} it?")
            effect = decide(*named, dry_run, reason)
        sentence = ("Would be " if dry_run else "") + printable(effect)
        print_result({"id": dead_letter_id, "dry_run": dry_run, "effect": effect}, sentence, as_json=as_json)


_add_decision("accept", resolve.accept, "Credit the money in a dead letter, as it was received.")
_add_decision("reject", resolve.reject, "Close a dead letter without a credit.")


def _summarize(found: dict[str, Any]) -> str:
    """Return a dead letter in one line."""
    parts = [found["reason"]]
    if found["amount"] is not None:
        parts.append(f"{found['amount']} {found['currency']}")
    if found["payment_id"] is not None:
        parts.append(f"payment {found['payment_id']}")
    return f"Dead letter {found['id']}: {', '.join(parts)}"


def _read(runtime: Runtime, tenant: str | None, words: tuple[str, ...], state: str) -> DeadLetterFilters:
    """Return the filters of `NAME=VALUE` words. Raise click.UsageError."""
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
    return DeadLetterFilters(**values)


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
