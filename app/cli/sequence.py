"""Draw a payment's history as a Mermaid sequence diagram, with the participants of the payment flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from app.core.money import format_amount

PARTICIPANTS = {
    "User": "User",
    "Frontend": "Frontend App",
    "API": "API Gateway",
    "Payment": "Payment Service",
    "External": "External Payment App",
    "Wallet": "Wallet Service",
    "Callback": "Callback Handler",
}

# The frontend's reaction to each notification.
SHOWN = {
    "payment.redirect_ready": "Redirect to External App",
    "payment.completed": "Show success message",
    "payment.failed": "Show error message",
    "payment.cancelled": "Show error message",
}

# Characters that end a message or begin an entity, as Mermaid's entity codes.
_ESCAPES = str.maketrans({"#": "#35;", ";": "#59;", "<": "#lt;", ">": "#gt;", "\n": " ", "\r": " ", "%": "#37;"})

Event = Mapping[str, Any]
Lines = Iterator[str]


def draw(payment: Mapping[str, Any], events: Iterable[Event]) -> str:
    """Return the diagram's text; each event has its sentence as `text`."""
    lines = ["sequenceDiagram"]
    lines += [f"    participant {name} as {title}" for name, title in PARTICIPANTS.items()]
    for event in events:
        lines.append(f"    %% {event['at']}")
        lines += [f"    {line}" for line in _DRAWN.get(event["kind"], _other)(payment, event)]
    return "\n".join(lines)


def _line(arrow: str, text: str) -> str:
    return f"{arrow}: {text.translate(_ESCAPES)}"


def _created(payment: Mapping[str, Any], event: Event) -> Lines:
    if event["actor"].startswith("user:"):
        yield _line("User->>Frontend", "Initiate payment")
        yield _line("Frontend->>API", "POST /api/payments/deposit")
    else:
        yield _line("Frontend->>API", "POST /api/payments/deposit (by the backend)")
    yield _line("API->>Payment", f"Create payment of {payment['amount']} {payment['currency']}")
    yield _line("Note over Payment", "Status: 'pending'")


def _called(payment: Mapping[str, Any], event: Event) -> Lines:
    detail = event["detail"]
    yield _line("Payment->>External", f"{detail['action']}, attempt {detail['attempt']}")
    answer = detail["outcome"] + (f": {detail['error']}" if detail.get("error") else "")
    # A crossed arrow: there was no usable answer.
    yield _line("External--xPayment" if detail.get("error") else "External-->>Payment", answer)


def _webhook(payment: Mapping[str, Any], event: Event) -> Lines:
    detail = event["detail"]
    yield _line("External->>Callback", f"POST /webhooks/{detail['path']}")
    yield _line("Callback-->>External", "200 OK")
    if detail["repeats"]:
        yield _line("Note over Callback", f"The same bytes {detail['repeats']} times more, without effect")
    if detail["verdict"]:
        yield _line("Note over Callback", f"{detail['verdict']}: {detail['reason']}")


def _refused(payment: Mapping[str, Any], event: Event) -> Lines:
    yield _line("External->>Callback", f"POST by {event['detail']['remote_address']}")
    yield _line("Callback--xExternal", f"Refused: {event['detail']['reason']}")


def _decision(payment: Mapping[str, Any], event: Event) -> Lines:
    detail = event["detail"]
    if detail.get("webhook_id"):
        yield _line("Callback->>Payment", f"{detail['given']}: {detail['reason']}")
    elif event["actor"].startswith(("user:", "key:")):
        yield _line("API->>Payment", f"{detail['given']}: {detail['reason']}")
    else:
        yield _line("Payment->>Payment", f"{detail['given']}: {detail['reason']}")
    if detail["from"] != detail["to"]:
        yield _line("Note over Payment", f"Status: '{detail['to']}'")


def _entry(payment: Mapping[str, Any], event: Event) -> Lines:
    detail = event["detail"]
    amount = f"{format_amount(detail['amount_minor'], detail['currency'])} {detail['currency']}"
    if detail["wallet"] == "user":
        yield _line("Payment->>Wallet", f"{detail['type']} {amount}")
        balance = format_amount(detail["balance_after_minor"], detail["currency"])
        yield _line("Note over Wallet", f"Balance: {balance} {detail['currency']}")
    else:
        yield _line("Wallet->>Wallet", f"counter-entry {amount}")


def _notification(payment: Mapping[str, Any], event: Event) -> Lines:
    kind = event["detail"]["type"]
    yield _line("Payment->>Frontend", f"WebSocket/SSE: {kind}")
    if kind in SHOWN:
        yield _line("Frontend-->>User", SHOWN[kind])


def _other(payment: Mapping[str, Any], event: Event) -> Lines:
    yield _line("Note over Payment", str(event["text"]))


_DRAWN: dict[str, Callable[[Mapping[str, Any], Event], Lines]] = {
    "payment_created": _created,
    "provider_call": _called,
    "webhook": _webhook,
    "webhook_refused": _refused,
    "decision": _decision,
    "entry": _entry,
    "notification": _notification,
}
