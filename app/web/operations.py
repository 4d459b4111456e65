"""The table of every route: who may call it, what it takes and what it answers. A route that is not here is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from app.web.roles import ADMINS, BACKENDS, CLIENTS, DECIDERS, DEPOSITORS, PUBLIC, READERS
from app.web.schemas import keys, operators, payments, webhooks


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or header parameter as OpenAPI describes it."""

    name: str
    schema: dict[str, Any]
    description: str
    place: str = "query"
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route. `answers` maps a status to the model of its body; problems are added by their status."""

    method: str
    rule: str
    roles: frozenset[str]
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = field(default=())
    tag: str = "Payments"
    body_is_optional: bool = False


LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Rows per page.")
CURSOR = Parameter("cursor", {"type": "string", "maxLength": 200}, "The `next_cursor` of the page before.")
_MOMENT = {"type": "string", "format": "date-time"}
_WAIT = {"type": "integer", "minimum": 0, "maximum": 3600}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/api/payments/deposit",
        DEPOSITORS,
        "Ask for a deposit",
        {201: payments.Payment, 202: payments.Payment},
        (400, 415, 422),
        payments.DepositRequest,
        (
            Parameter(
                "Idempotency-Key",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
                "Makes the request repeatable: the same key and body give the same payment, for ever.",
                "header",
                True,
            ),
            Parameter(
                "Prefer",
                {"type": "string", "pattern": "^wait=[0-9]{1,3}$", "examples": ["wait=10"]},
                "`wait=N`: answer as soon as the redirect URL is there or the payment ended, within N seconds.",
                "header",
            ),
        ),
    ),
    Operation(
        "GET",
        "/api/payments",
        READERS,
        "List payments, newest first",
        {200: payments.PaymentList},
        (422,),
        parameters=(
            Parameter("user_id", {"type": "string", "pattern": payments.USER_ID_PATTERN}, "Of this user only."),
            Parameter(
                "status",
                {"enum": ["pending", "processing", "completed", "failed", "cancelled"]},
                "In this state only.",
            ),
            Parameter("created_after", _MOMENT, "Created after this time."),
            Parameter("created_before", _MOMENT, "Created before this time."),
            LIMIT,
            CURSOR,
        ),
    ),
    Operation(
        "GET",
        "/api/payments/{id}",
        READERS,
        "Read a payment, waiting for a change where asked",
        {200: payments.Payment},
        (404, 422),
        parameters=(
            Parameter("wait", _WAIT, "Wait up to this many seconds for a change; more than 10 counts as 10."),
            Parameter(
                "version",
                {"type": "integer", "minimum": 1, "maximum": 2147483647},
                "Answer when the version differs from this one; default: when no longer `pending`.",
            ),
            Parameter("until", {"enum": ["ended"]}, "`ended`: answer when the payment has ended."),
        ),
    ),
    Operation(
        "POST",
        "/api/payments/{id}/cancel",
        DEPOSITORS,
        "Cancel a payment that has not ended",
        {200: payments.Payment},
        (404, 409),
    ),
    Operation(
        "GET",
        "/api/payments/{id}/timeline",
        READERS,
        "What happened to a payment; for client tokens its states and the user's own entries",
        {200: payments.Timeline},
        (404,),
    ),
    Operation(
        "GET", "/api/wallets/{user_id}", READERS, "A user's wallets", {200: payments.WalletList}, (404,), tag="Wallets"
    ),
    Operation(
        "GET",
        "/api/wallets/{user_id}/transactions",
        READERS,
        "A user's wallet entries, newest first",
        {200: payments.EntryList},
        (404, 422),
        parameters=(
            Parameter("currency", {"type": "string", "pattern": "^[A-Z]{3}$"}, "In this currency only."),
            LIMIT,
            CURSOR,
        ),
        tag="Wallets",
    ),
    Operation(
        "GET",
        "/api/events",
        READERS,
        "Notifications with a larger id",
        {200: payments.EventList},
        (422,),
        parameters=(
            Parameter(
                "after",
                {"type": "integer", "minimum": 0, "maximum": 9223372036854775807, "default": 0},
                "The last id that was seen; 0 is the start.",
            ),
            LIMIT,
            CURSOR,
        ),
        tag="Events",
    ),
    Operation(
        "POST",
        "/api/client-tokens",
        BACKENDS,
        "Make a token for a user's browser",
        {201: payments.ClientToken},
        (400, 415, 422),
        payments.ClientTokenRequest,
        tag="Access",
    ),
    Operation(
        "GET",
        "/api/keys",
        ADMINS,
        "The tenant's secret keys, without their secrets",
        {200: keys.KeyList},
        tag="Access",
    ),
    Operation(
        "POST", "/api/tickets", CLIENTS, "Make a single-use pass for one stream", {201: payments.Ticket}, tag="Access"
    ),
)

_DEAD_LETTER_FILTERS = (
    Parameter("reason", {"type": "string", "pattern": "^[a-z_]{1,64}$"}, "With this reason only."),
    Parameter("kind", {"enum": ["webhook", "provider_call", "reconciliation"]}, "Of this kind only."),
    Parameter("provider_id", {"type": "string", "format": "uuid"}, "Of this provider only."),
    Parameter("payment_id", {"type": "string", "format": "uuid"}, "Of this payment only."),
    Parameter("older_than_seconds", {"type": "integer", "minimum": 0, "maximum": 315360000}, "At least this old only."),
)
_DRY_RUN = Parameter("dry_run", {"enum": ["true", "false"]}, "`true`: only say what it would do at this moment.")


def _act(action: str, summary: str) -> Operation:
    answers: dict[int, type[BaseModel] | None] = {200: payments.DeadLetterDetail}
    rule = f"/api/dead-letters/{{id}}/{action}"
    problems = (400, 404, 409, 413, 415, 422)
    return Operation(
        *("POST", rule, DECIDERS, summary, answers, problems, operators.ReasonRequest, (_DRY_RUN,)),
        tag="Dead letters",
        body_is_optional=True,
    )


OPERATIONS += (
    Operation(
        "GET",
        "/api/dead-letters",
        DECIDERS,
        "List dead letters, newest first",
        {200: payments.DeadLetterList},
        (422,),
        parameters=(
            Parameter(
                "state",
                {"enum": ["open", "redriven", "accepted", "rejected", "superseded"], "default": "open"},
                "In this state.",
            ),
            *_DEAD_LETTER_FILTERS,
            LIMIT,
            CURSOR,
        ),
        tag="Dead letters",
    ),
    Operation(
        "GET",
        "/api/dead-letters/{id}",
        DECIDERS,
        "Read a dead letter with its bytes and history",
        {200: payments.DeadLetterDetail},
        (404,),
        tag="Dead letters",
    ),
    _act("redrive", "Make its work due again; safe to do twice"),
    _act("accept", "Credit the money in it"),
    _act("reject", "Close it without a credit"),
    Operation(
        "POST",
        "/api/dead-letters/redrive",
        DECIDERS,
        "Make the work of all open ones that fit due again",
        {200: payments.RedriveList},
        (400, 413, 415, 422),
        operators.ReasonRequest,
        (*_DEAD_LETTER_FILTERS, LIMIT, _DRY_RUN),
        tag="Dead letters",
        body_is_optional=True,
    ),
)

_WEBHOOK_PROBLEMS = (400, 403, 404, 413, 415)
# None of them is required of every delivery: a provider of another signing scheme sends that scheme's headers.
_WEBHOOK_HEADERS = (
    Parameter("webhook-id", {"type": "string", "pattern": "^[!-+\\--~]{1,255}$"}, "Unique per event.", "header"),
    Parameter("webhook-timestamp", {"type": "string", "pattern": "^[0-9]{1,12}$"}, "Unix seconds.", "header"),
    Parameter(
        "webhook-signature",
        {"type": "string", "maxLength": 4096},
        "Standard Webhooks, `v1,...`; these three are required where the provider's scheme is `standard`.",
        "header",
    ),
)


def _webhook(path: str, summary: str, body: type[BaseModel] = webhooks.WebhookBody) -> Operation:
    answers: dict[int, type[BaseModel] | None] = {200: webhooks.WebhookReceipt}
    return Operation("POST", path, PUBLIC, summary, answers, _WEBHOOK_PROBLEMS, body, _WEBHOOK_HEADERS, tag="Webhooks")


OPERATIONS += (
    _webhook("/webhooks/payment-success", "A provider says that money arrived"),
    _webhook("/webhooks/payment-failed", "A provider says that a payment failed or was cancelled"),
    _webhook("/webhooks/payment-callback", "A provider says how a payment went"),
    _webhook("/webhooks/{provider_id}", "A webhook in a provider's own form", webhooks.ProviderBody),
    Operation("GET", "/health/live", PUBLIC, "Whether this process answers", {200: payments.Health}, tag="Watching"),
    Operation(
        "GET",
        "/health/ready",
        PUBLIC,
        "Whether this process can store a row",
        {200: payments.Health, 503: payments.Health},
        tag="Watching",
    ),
    Operation(
        "GET",
        "/health/work",
        PUBLIC,
        "Whether due work is being done",
        {200: payments.Health, 503: payments.Health},
        tag="Watching",
    ),
    Operation("GET", "/metrics", PUBLIC, "Prometheus text", {200: None}, (403,), tag="Watching"),
    Operation("GET", "/openapi.json", PUBLIC, "This document", {200: None}, tag="Watching"),
)

# Pages and files; they are not part of the API and not in its document.
PAGES = frozenset({"/", "/docs", "/demo", "/demo/token", "/static/{filename}", "/ws", "/api/stream"})

BY_ROUTE: dict[tuple[str, str], Operation] = {(item.method, item.rule): item for item in OPERATIONS}
