"""Describe the events of a payment's timeline in sentences."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.cli.output import print_table
from app.core.money import format_amount

Event = Mapping[str, Any]
Detail = Mapping[str, Any]

_ASKED = {
    "create": "The provider is asked to take the payment",
    "advance": "The provider is asked for the money that the payer has approved",
    "refund": "The provider is asked to give money back",
    "poll": "The provider is asked how the payment stands",
    "close": "The provider is asked to close the payment",
}
_ANSWERS = {
    "accepted": "it has it",
    "pending": "not paid yet",
    "approved": "the payer has approved; the money is still to be asked for",
    "committed": "the payer has committed to a method that settles later",
    "succeeded": "paid",
    "attempt_declined": "declined; the payer may try again",
    "declined": "declined",
    "cancelled": "cancelled",
    "refunded": "given back",
    "refund_state": "it says what became of the refund",
    "not_found": "it does not know it",
    "NotSent": "it could not be reached",
    "OutcomeUnknown": "no usable answer; it will be asked again",
    "ProviderRefusedUs": "it refuses us",
}
_ACTORS = {"key": "your backend", "user": "the user", "provider": "the provider", "system": "Sluice"}


def print_timeline(events: Sequence[Event]) -> None:
    """Print the events of `GET /api/payments/{id}/timeline` as a table."""
    start = _moment(events[0]) if events else None
    rows = [
        {
            "after": f"+{(_moment(event) - start).total_seconds():.3f} s" if start else None,
            "who": describe_event_actor(event),
            "what": describe_event(event),
        }
        for event in events
    ]
    print_table(rows, {"after": "After", "who": "Actor", "what": "Event"})


def _moment(event: Event) -> datetime.datetime:
    # Python 3.11's parser takes the Z of RFC 3339.
    return datetime.datetime.fromisoformat(event["at"])


def describe_event_actor(event: Event) -> str:
    """Return the actor in words; calls and decisions that a provider's message causes are Sluice's."""
    is_ours = event["kind"] in ("provider_call", "decision") and event["actor"].startswith("provider:")
    return describe_actor("system" if is_ours else event["actor"])


def describe_actor(actor: str) -> str:
    """Return the actor in words: an operator with the name, other actors by their kind."""
    kind, _, name = actor.partition(":")
    if kind == "uid":
        return f"operator {actor}"
    # Audit rows of earlier versions name a login.
    return f"operator {name}" if kind == "operator" else _ACTORS.get(kind, actor)


_REFUSED = {
    "signature": "its signature does not hold",
    "timestamp": "it is too old, or not of our time",
    "address": "it came from an address that may not send them",
    "json": "it cannot be read",
    "path": "it contradicts the path that it came by",
}


def describe_event(event: Event) -> str:
    """Return a sentence that describes the event."""
    describe = _WORDS.get(event["kind"])
    if describe is not None:
        return describe(event["detail"])
    # Operators' actions and new kinds of events are described by their kind and details.
    known = ", ".join(f"{key}: {value}" for key, value in event["detail"].items() if value is not None)
    return f"{str(event['kind']).replace('_', ' ').capitalize()}{f' ({known})' if known else ''}"


def _money(minor: int, currency: str) -> str:
    return f"{format_amount(minor, currency)} {currency}"


def _created(detail: Detail) -> str:
    return (
        f"A deposit of {_money(detail['amount_minor'], detail['currency'])} for user {detail['user_id']} is asked for"
    )


def _called(detail: Detail) -> str:
    asked = _ASKED.get(detail["action"], f"The provider is called ({detail['action']})")
    answer = _ANSWERS.get(detail["outcome"], detail["outcome"])
    trouble = f": {detail['error']}" if detail.get("error") else ""
    attempt = f", attempt {detail['attempt']}" if detail.get("attempt", 1) > 1 else ""
    return f"{asked}: {answer}{trouble} ({detail['milliseconds']:g} ms{attempt})"


def _webhook(detail: Detail) -> str:
    came = f"A webhook with a good signature came by {detail['path']}"
    if detail["status"] == "pending":
        return f"{came} and waits to be settled"
    return f"{came}: {detail['verdict']}, {detail['reason']}"


def _settled(detail: Detail) -> str:
    return f"The webhook is settled once more: {detail['verdict']}, {detail['reason']}"


def _replayed(detail: Detail) -> str:
    former = detail.get("former")
    return "The webhook is to be settled once more" + (f"; its verdict was {former['verdict']}" if former else "")


def _refused(detail: Detail) -> str:
    why = _REFUSED.get(detail["reason"], detail["reason"].replace("_", " "))
    sender = f" from {detail['remote_address']}" if detail.get("remote_address") else ""
    return f"A webhook{sender} that names this payment is refused: {why}"


def _decision(detail: Detail) -> str:
    before, after, reason = detail["from"], detail["to"], detail["reason"]
    if before == after:
        return f"The payment stays {after} ({detail['verdict']}): {reason}"
    return f"The payment goes from {before} to {after}: {reason}"


def _entry(detail: Detail) -> str:
    amount, balance = (_money(detail[key], detail["currency"]) for key in ("amount_minor", "balance_after_minor"))
    if detail["wallet"] == "user" and detail["balance_after_minor"] < 0:
        balance += ", below zero"
    if detail["wallet"] == "user" and detail["type"] == "reinstatement":
        return f"The user's wallet gets {amount} again, which had gone back; its balance is {balance}"
    if detail["wallet"] == "user" and detail["type"] == "refund":
        taken = _money(-detail["amount_minor"], detail["currency"])
        return f"{taken} of the user's wallet went back to the payer (refund); its balance is {balance}"
    if detail["wallet"] == "user":
        return f"The user's wallet gets {amount} ({detail['type']}); its balance is {balance}"
    if detail["wallet"] == "suspense":
        return _suspense_entry(detail, amount)
    return f"The provider's clearing wallet gets {amount} against the transfer"


_TAKEN_FROM_SUSPENSE = {
    "suspense_refund": "the refund took it, and the payer has it back",
    "suspense_reversal": "the provider took it back",
    "deposit": "a person credited it to the user",
}


def _suspense_entry(detail: Detail, amount: str) -> str:
    if detail["type"] in _TAKEN_FROM_SUSPENSE:
        taken = _money(-detail["amount_minor"], detail["currency"])
        return f"{taken} leaves the provider's suspense wallet: {_TAKEN_FROM_SUSPENSE[detail['type']]}"
    why = "it came again" if detail["type"] == "suspense_reinstatement" else "it is no user's, and is to go back"
    return f"{amount} waits in the provider's suspense wallet: {why}"


def _restored(detail: Detail) -> str:
    balance = _money(detail["balance_after_minor"], detail["currency"])
    subject = f"payment {detail['payment_id']}" if detail["payment_id"] else f"debit {detail['debit_id']}"
    kind = detail["type"].replace("_", " ")
    return f"The user's wallet is no longer below zero: a {kind} ({subject}) sets it right; its balance is {balance}"


def _notification(detail: Detail) -> str:
    number = f"event {detail['id']}" if detail["id"] is not None else "event not numbered yet"
    return f"The user's browser is sent {detail['type']} ({number})"


def _dead_letter(detail: Detail) -> str:
    state = "" if detail["state"] == "open" else f"; by now it is {detail['state']}"
    return f"Kept as a dead letter for a person: {detail['reason']}, {detail['detail']}{state}"


_WORDS: dict[str, Callable[[Detail], str]] = {
    "payment_created": _created,
    "provider_call": _called,
    "webhook": _webhook,
    "webhook_settled": _settled,
    "webhook_replayed": _replayed,
    "webhook_refused": _refused,
    "decision": _decision,
    "entry": _entry,
    "wallet_restored": _restored,
    "notification": _notification,
    "dead_letter": _dead_letter,
}
