"""The command `sluice payments explain`: print a payment's history in sentences, or as a sequence diagram."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import click

from app.cli.disputes import describe_dispute
from app.cli.output import json_option, print_json, print_table
from app.cli.sequence import draw
from app.cli.stack import open_runtime
from app.cli.timeline import describe_actor, describe_event, describe_event_actor
from app.core.money import format_money
from app.services.operators import explain as explaining

_CLOSED = {
    "redriven": "is tried again",
    "accepted": "is accepted, and the money in it credited",
    "rejected": "is rejected, and no money moves",
    "superseded": "is settled by what came later",
}
_PENDING = {
    "provider_configuration": "the provider refuses our key or configuration there (sluice providers update)",
    "provider_unavailable": "the provider could not be reached; redrive its dead letter once it can",
}


@click.command("explain")
@click.argument("payment_id", metavar="ID", type=click.UUID)
@click.option("--mermaid", is_flag=True, help="Print a Mermaid sequence diagram.")
@json_option
def explain(payment_id: uuid.UUID, mermaid: bool, as_json: bool) -> None:
    """Explain a payment's history, one event per line: time, actor, action and reason."""
    with open_runtime() as runtime:
        story = explaining.read_story(runtime, payment_id)
    events = [event | {"who": describe_event_actor(event), "text": describe(event)} for event in story["events"]]
    if as_json:
        more = {"mermaid": draw(story["payment"], events)} if mermaid else {}
        print_json(story | {"events": events, **more})
    elif mermaid:
        click.echo(draw(story["payment"], events))
    else:
        click.echo(summarize(story["payment"]))
        for dispute in story["disputes"]:
            click.echo(describe_dispute(story["payment"], dispute))
        click.echo()
        print_table([_row(event) for event in events], {"at": "When (UTC)", "who": "Who", "text": "What"})


def summarize(payment: Mapping[str, Any]) -> str:
    """Return the payment's state in a sentence or two."""
    sentence = [
        f"Payment {payment['id']}: {payment['amount']} {payment['currency']} for user {payment['user_id']}"
        f" is {payment['status']}."
    ]
    if payment["failure_reason"]:
        sentence.append(f"Why: {payment['failure_reason']}.")
    if payment.get("pending_reason"):
        sentence.append(f"It does not proceed: {_PENDING[payment['pending_reason']]}.")
    if payment["received_amount"]:
        sentence.append(f"Received: {payment['received_amount']} {payment['received_currency']}.")
    if payment["reversed_amount_minor"]:
        gone = format_money(payment["reversed_amount_minor"], payment["received_currency"] or payment["currency"])
        sentence.append(f"Gone back to the payer: {gone}.")
    if payment["exception"]:
        sentence.append(f"Needs attention: {payment['exception']}.")
    return " ".join(sentence)


def _row(event: Mapping[str, Any]) -> dict[str, Any]:
    moment = datetime.datetime.fromisoformat(event["at"])
    return {**event, "at": moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]}


def describe(event: Mapping[str, Any]) -> str:
    """Return an event in one sentence; there is one for every kind."""
    detail = event["detail"]
    # An operator's action is an audit row, such as `dead_letter_accepted`; one that Sluice closes has only a state.
    state = detail["state"] if event["kind"] == "dead_letter_closed" else event["kind"].removeprefix("dead_letter_")
    if event["kind"].startswith("dead_letter_") and state in _CLOSED:
        why = f", with the reason: {detail['operator_reason']}" if detail.get("operator_reason") else ""
        return f"The dead letter ({detail['reason']}) {_CLOSED[state]}, by {describe_actor(event['actor'])}{why}"
    sentence = describe_event(event)
    if event["kind"] == "webhook" and detail["repeats"]:
        times = "once" if detail["repeats"] == 1 else f"{detail['repeats']} times"
        sentence += f"; the same bytes came again {times}, without effect"
    return sentence
