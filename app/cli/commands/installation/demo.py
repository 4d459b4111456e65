"""The command `sluice demo`: make and pay one deposit without a browser."""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from app.cli.backend import Backend, open_backend
from app.cli.options import Duration
from app.cli.output import console, json_option, print_json
from app.cli.timeline import print_timeline
from app.core.money import AmountError, CurrencyError, parse_amount
from app.local.own_stack import find_running, start_own
from app.runtime.settings import Settings

END_SECONDS_MAX = 3600  # A demo needs no longer timeout than an hour.
NUMBERED_SECONDS = 10.0  # Notifications are numbered within milliseconds; only the printed timeline waits for it.

ENDED = ("completed", "failed", "cancelled")


class DemoFailed(click.ClickException):
    """The deposit did not reach the wallet."""


@click.command("demo", short_help="Pay one deposit through to the wallet.")
@click.option("--amount", default="25.00", show_default=True, help="Amount to deposit, as a decimal number.")
@click.option("--currency", default="USD", show_default=True, help="ISO 4217 code.")
@click.option(
    # A payment takes well under a second; a minute allows for the restart of a worker.
    "--timeout",
    type=Duration(END_SECONDS_MAX),
    default="60s",
    show_default=True,
    help="How long the payment may take to end.",
)
@json_option
def command(amount: str, currency: str, timeout: int, as_json: bool) -> None:
    """Pay one deposit through to the wallet and print what happened.

    Uses the stack that runs in SLUICE_HOME, or else starts one on free ports and stops it afterwards. Exit 0 only if
    the wallet holds the money.
    """
    try:
        amount_minor = parse_amount(amount, currency)
    except (AmountError, CurrencyError) as error:
        raise click.UsageError(f"the amount {error}" if isinstance(error, AmountError) else str(error)) from None
    with open_stack(Settings.from_environment()) as run, open_backend(run) as backend:
        report = Visitor(backend, timeout).deposit(amount, currency, amount_minor)
    if as_json:
        print_json(report)
    else:
        print_report(report)
    sys.exit(0 if report["ok"] else 1)


@contextlib.contextmanager
def open_stack(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield run.json of the running stack, or of one started for the length of the block."""
    run = find_running(settings.home)
    if run is not None:
        click.echo(f"Using the stack that runs in {settings.home}", err=True)
        yield run
        return
    with contextlib.ExitStack() as stack:
        with console(stderr=True).status("Starting Sluice"):
            click.echo(f"Starting Sluice in {settings.home} (the first time takes some seconds longer)", err=True)
            run = stack.enter_context(start_own(settings))
        yield run


class Visitor:
    """Acts as a tenant's backend and its user: requests a deposit, pays it, reads the wallet."""

    def __init__(self, backend: Backend, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.user_id = f"demo-{secrets.token_hex(6)}"
        self._backend = backend

    def deposit(self, amount: str, currency: str, amount_minor: int) -> dict[str, Any]:
        """Make a deposit and return its report; `ok` is true only if the balance rose by exactly the amount."""
        before, started = _balance_minor(self.wallet(currency)), time.monotonic()
        payment = self._wait(
            self.request_deposit(amount, currency), "", lambda seen: seen["provider_reference"] is not None
        )
        self._backend.call("POST", f"{self._backend.sandbox}/v1/payments/{payment['provider_reference']}/pay", json={})
        payment = self._wait(payment, "&until=ended", lambda seen: seen["status"] in ENDED)
        seconds, wallet = time.monotonic() - started, self.wallet(currency)
        after = _balance_minor(wallet)
        return {
            "ok": payment["status"] == "completed" and after - before == amount_minor,
            "payment": payment,
            "amount_minor": amount_minor,
            "balance_before_minor": before,
            "balance_after_minor": after,
            "wallet": wallet,
            "seconds": round(seconds, 3),
            "timeline": self.timeline(payment),
        }

    def request_deposit(self, amount: str, currency: str) -> dict[str, Any]:
        """Request the deposit; return the payment, with its redirect URL if the provider answers within ten seconds."""
        body = {"user_id": self.user_id, "amount": amount, "currency": currency}
        headers = {"Idempotency-Key": f"{self.user_id}-1", "Prefer": "wait=10"}
        payment: dict[str, Any] = self._backend.api("POST", "/api/payments/deposit", json=body, headers=headers)
        return payment

    def _wait(self, payment: dict[str, Any], until: str, is_done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + self.timeout_seconds
        while not is_done(payment):
            left = deadline - time.monotonic()
            if left <= 0:
                raise DemoFailed(
                    f"payment {payment['id']} is still {payment['status']} after {self.timeout_seconds:g} s:"
                    " is a worker missing? see `sluice doctor`"
                )
            wait = max(1, min(10, int(left)))
            payment = self._backend.api("GET", f"/api/payments/{payment['id']}?wait={wait}{until}")
        return payment

    def wallet(self, currency: str) -> dict[str, Any] | None:
        """Return the user's wallet in one currency, or None where there is none yet."""
        wallets = self._backend.api("GET", f"/api/wallets/{self.user_id}")["data"]
        return next((wallet for wallet in wallets if wallet["currency"] == currency), None)

    def timeline(self, payment: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the timeline once its notifications are numbered, which may follow its end by milliseconds."""
        deadline = time.monotonic() + NUMBERED_SECONDS
        while True:
            events: list[dict[str, Any]] = self._backend.api("GET", f"/api/payments/{payment['id']}/timeline")["data"]
            numbers = [event["detail"]["id"] for event in events if event["kind"] == "notification"]
            if None not in numbers or time.monotonic() > deadline:
                return events
            time.sleep(0.05)


def _balance_minor(wallet: dict[str, Any] | None) -> int:
    return wallet["balance_minor"] if wallet else 0


def print_report(report: dict[str, Any]) -> None:
    """Print the timeline and the wallet's balance."""
    payment, wallet = report["payment"], report["wallet"]
    click.echo(f"\nPayment {payment['id']}\n")
    print_timeline(report["timeline"])
    balance = f"{wallet['balance']} {wallet['currency']}" if wallet else "nothing"
    click.echo(f"\nThe payment is {payment['status']} after {report['seconds']} s.")
    holds = f"The wallet of {payment['user_id']} holds {balance}"
    if report["ok"]:
        click.secho(f"{holds}.", fg="green", bold=True)
    else:
        click.secho(f"{holds}: not what was paid.", fg="red", err=True)
