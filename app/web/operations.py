"""The table of every route: roles, parameters, body and answers. Start-up fails for a route that is not here."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from app.web.roles import ADMINS, BACKENDS, CLIENTS, DECIDERS, DEPOSITORS, PUBLIC, READERS
from app.web.schemas import answers, bodies
from app.web.schemas.parameters import (
    DeadLettersQuery,
    DecisionQuery,
    DepositHeaders,
    EntriesQuery,
    EventsQuery,
    NoQuery,
    Parameters,
    PaymentQuery,
    PaymentsQuery,
    RedriveQuery,
    WebhookHeaders,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    `answers` maps a status to the model of its body. The problems that follow from what a route takes are added to
    `problems` in the document.
    """

    method: str
    rule: str
    roles: frozenset[str]
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[int, ...] = ()
    query: type[Parameters] | None = None
    headers: type[Parameters] | None = None
    body: type[BaseModel] | None = None
    body_is_optional: bool = False
    tag: str = "Payments"


def _decide(action: str, summary: str) -> Operation:
    return Operation(
        "POST",
        f"/api/dead-letters/{{id}}/{action}",
        DECIDERS,
        summary,
        {200: answers.DeadLetterDetail},
        (409,),
        query=DecisionQuery,
        body=bodies.ReasonRequest,
        body_is_optional=True,
        tag="Dead letters",
    )


def _webhook(path: str, summary: str, body: type[BaseModel] = bodies.WebhookBody) -> Operation:
    # Declared for the document only: a delivery is validated by its provider's signature scheme and adapter.
    return Operation(
        "POST",
        path,
        PUBLIC,
        summary,
        {200: answers.WebhookReceipt},
        (400, 403, 404, 413, 415),
        headers=WebhookHeaders,
        body=body,
        tag="Webhooks",
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/api/payments/deposit",
        DEPOSITORS,
        "Ask for a deposit",
        {201: answers.PaymentBody, 202: answers.PaymentBody},
        headers=DepositHeaders,
        body=bodies.DepositRequest,
    ),
    Operation(
        "GET",
        "/api/payments",
        READERS,
        "List payments, newest first",
        {200: answers.PaymentList},
        query=PaymentsQuery,
    ),
    Operation(
        "GET",
        "/api/payments/{id}",
        READERS,
        "Read a payment, waiting for a change where asked",
        {200: answers.PaymentBody},
        query=PaymentQuery,
    ),
    Operation(
        "POST",
        "/api/payments/{id}/cancel",
        DEPOSITORS,
        "Cancel a payment that has not ended",
        {200: answers.PaymentBody},
        (409,),
    ),
    Operation(
        "GET",
        "/api/payments/{id}/timeline",
        READERS,
        "What happened to a payment; for client tokens its states and the user's own entries",
        {200: answers.Timeline},
    ),
    Operation(
        "GET", "/api/wallets/{user_id}", READERS, "A user's wallets", {200: answers.WalletList}, (404,), tag="Wallets"
    ),
    Operation(
        "GET",
        "/api/wallets/{user_id}/transactions",
        READERS,
        "A user's wallet entries, newest first",
        {200: answers.EntryList},
        (404,),
        query=EntriesQuery,
        tag="Wallets",
    ),
    Operation(
        "GET",
        "/api/events",
        READERS,
        "Notifications with a larger id",
        {200: answers.EventList},
        query=EventsQuery,
        tag="Events",
    ),
    Operation(
        "POST",
        "/api/client-tokens",
        BACKENDS,
        "Make a token for a user's browser",
        {201: answers.ClientTokenBody},
        body=bodies.ClientTokenRequest,
        tag="Access",
    ),
    Operation(
        "GET",
        "/api/keys",
        ADMINS,
        "The tenant's secret keys, without their secrets",
        {200: answers.KeyList},
        query=NoQuery,
        tag="Access",
    ),
    Operation(
        "POST", "/api/tickets", CLIENTS, "Make a single-use pass for one stream", {201: answers.Ticket}, tag="Access"
    ),
    Operation(
        "GET",
        "/api/dead-letters",
        DECIDERS,
        "List dead letters, newest first",
        {200: answers.DeadLetterList},
        query=DeadLettersQuery,
        tag="Dead letters",
    ),
    Operation(
        "GET",
        "/api/dead-letters/{id}",
        DECIDERS,
        "Read a dead letter with its bytes and history",
        {200: answers.DeadLetterDetail},
        tag="Dead letters",
    ),
    _decide("redrive", "Make its work due again; safe to do twice"),
    _decide("accept", "Credit the money in it"),
    _decide("reject", "Close it without a credit"),
    Operation(
        "POST",
        "/api/dead-letters/redrive",
        DECIDERS,
        "Make the work of all open ones that fit due again",
        {200: answers.RedriveList},
        query=RedriveQuery,
        body=bodies.ReasonRequest,
        body_is_optional=True,
        tag="Dead letters",
    ),
    _webhook("/webhooks/payment-success", "A provider says that money arrived"),
    _webhook("/webhooks/payment-failed", "A provider says that a payment failed or was cancelled"),
    _webhook("/webhooks/payment-callback", "A provider says how a payment went"),
    _webhook("/webhooks/{provider_id}", "A webhook in a provider's own form", bodies.ProviderBody),
    Operation("GET", "/health/live", PUBLIC, "Whether this process answers", {200: answers.Health}, tag="Watching"),
    Operation(
        "GET",
        "/health/ready",
        PUBLIC,
        "Whether this process can store a row",
        {200: answers.Health, 503: answers.Health},
        tag="Watching",
    ),
    Operation(
        "GET",
        "/health/work",
        PUBLIC,
        "Whether due work is being done",
        {200: answers.Health, 503: answers.Health},
        tag="Watching",
    ),
    Operation("GET", "/metrics", PUBLIC, "Prometheus text", {200: None}, (403,), tag="Watching"),
    Operation("GET", "/openapi.json", PUBLIC, "This document", {200: None}, tag="Watching"),
)

# Pages, files and live connections: not part of the API's document.
PAGES = frozenset({"/", "/docs", "/docs/reference", "/demo", "/demo/token", "/static/{filename}", "/ws", "/api/stream"})

BY_ROUTE: dict[tuple[str, str], Operation] = {(item.method, item.rule): item for item in OPERATIONS}
