"""The command `sluice listen`: print a tenant's events as they come and forward them to a backend under development."""

from __future__ import annotations

import json
import os
import secrets
import signal
from typing import Any

import click

from app.cli.backend import open_backend
from app.cli.listening.event_stream import EventStream, Frame
from app.cli.listening.forwarding import Forwarder, is_loopback
from app.cli.options import WebAddress
from app.cli.output import printable
from app.core.signatures import decode_secret, encode_secret

SECRET_VARIABLE = "SLUICE_LISTEN_SECRET"  # noqa: S105  # the name of a variable
SECRET_BYTES = 32


@click.command("listen", short_help="Print and forward a tenant's events as they come.")
@click.option("--forward-to", metavar="URL", type=WebAddress(), help="Send each event there, signed as a webhook.")
@click.option("--allow-remote", is_flag=True, help="Forward to another machine than this one.")
@click.option("--after", type=click.IntRange(min=0), help="Begin after this event; without it with new ones.")
@click.option("--type", "types", multiple=True, help="Only this type, such as payment.completed; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
def command(
    forward_to: str | None, allow_remote: bool, after: int | None, types: tuple[str, ...], as_json: bool
) -> None:
    """Print this tenant's events as they come, and forward them signed (Standard Webhooks), for development.

    The stack is the one that runs in SLUICE_HOME, or that of SLUICE_PUBLIC_URL; the tenant is the one of SLUICE_KEY, a
    secret key, or the demo tenant. A lost connection is made again, and nothing is left out. The secret for the
    signatures is new at each start unless SLUICE_LISTEN_SECRET has one.
    """
    if forward_to and not allow_remote and not is_loopback(forward_to):
        raise click.UsageError(f"{forward_to} is not on this machine: events go there only with --allow-remote")
    forwarder = _open_forwarder(forward_to) if forward_to else None
    with open_backend() as backend:
        stream = EventStream(backend, after, _remark)
        _remark(f"Listening to the events at {backend.sockets}; Ctrl-C ends it")
        # A service manager's signal ends it as Ctrl-C does.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for frame in stream:
                if types and frame.type not in types:
                    continue
                click.echo(frame.data.decode() if as_json else _describe(frame))
                if forwarder is not None:
                    _forward(forwarder, frame)
        except KeyboardInterrupt:
            _remark("" if stream.after is None else f"Stopped; --after {stream.after} continues here")
        finally:
            signal.signal(signal.SIGTERM, before)


def _open_forwarder(url: str) -> Forwarder:
    secret = os.environ.get(SECRET_VARIABLE) or encode_secret(secrets.token_bytes(SECRET_BYTES))
    try:
        decode_secret(secret)
    except ValueError as error:
        raise click.UsageError(f"{SECRET_VARIABLE}: {error}") from None
    _remark(f"Forwarding to {url}, signed with {secret}")
    return Forwarder(url, secret)


def _forward(forwarder: Forwarder, frame: Frame) -> None:
    is_taken, words = forwarder.send(frame)
    _remark(click.style(f"  -> {words}", fg="green" if is_taken else "red"))


def _remark(text: str) -> None:
    click.echo(text, err=True)


def _describe(frame: Frame) -> str:
    """Return an event in one line: time, number, type, and what it is about."""
    message: dict[str, Any] = json.loads(frame.data)
    payment = message["payment"]
    about = message.get("refund") or payment
    parts = [str(message["at"])[11:19], f"#{frame.id}", frame.type, f"{about['amount']} {about['currency']}"]
    parts += [f"user {payment['user_id']}", f"payment {payment['id']}", payment["status"]]
    parts += [payment["exception"]] if payment["exception"] else []
    return printable("  ".join(parts))
