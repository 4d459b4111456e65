"""The table of every route: roles, parameters, body and answers. Start-up fails for a route that is not here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel

from app.web.roles import ADMINS, BACKENDS, CLIENTS, DECIDERS, DEPOSITORS, KEYS, PUBLIC, READERS, SPENDERS
from app.web.schemas import answers, tenant_answers, wallet_answers
from app.web.schemas.bodies import (
    ClientTokenRequest,
    DebitAsked,
    DepositRequest,
    ProviderBody,
    ReasonRequest,
    RefundAsked,
    ReversalAsked,
    WebhookBody,
)
from app.web.schemas.endpoint_bodies import (
    ChangedEndpoint,
    DeliveryBody,
    DeliveryPage,
    EndpointAsked,
    EndpointBody,
    EndpointChanges,
    EndpointPage,
    EndpointWithSecret,
    RangeAsked,
    RedeliveredBody,
    RotationAsked,
)
from app.web.schemas.parameters import (
    DeadLettersQuery,
    DebitHeaders,
    DebitsQuery,
    DecisionQuery,
    DeliveriesQuery,
    DepositHeaders,
    EndpointsQuery,
    EntriesQuery,
    EventsQuery,
    NoQuery,
    Parameters,
    PaymentQuery,
    PaymentsQuery,
    RedriveQuery,
    RefundHeaders,
    WebhookHeaders,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    `answers` maps a status to the model of its body. The problems that follow from the parameters and the body
    are added to `problems` in the document.
    """

    method: str
    rule: str
    roles: frozenset[str]
    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    query: type[Parameters] | None = None
    problems: tuple[int, ...] = ()
    headers: type[Parameters] | None = None
    body: type[BaseModel] | None = None
    body_is_optional: bool = False
    tag: str = ""


_get = functools.partial(Operation, "GET")
_post = functools.partial(Operation, "POST")


def _decide(action: str, summary: str) -> Operation:
    rule, answer = f"/api/dead-letters/{{id}}/{action}", {200: answers.DeadLetterDetail}
    return _post(rule, DECIDERS, summary, answer, DecisionQuery, (409,), body=ReasonRequest, body_is_optional=True)


def _webhook(path: str, summary: str, body: type[BaseModel] = WebhookBody) -> Operation:
    # Declared for the document only: a delivery is validated by its provider's signature scheme and adapter.
    problems = (400, 403, 404, 413, 415)
    answer = {200: answers.WebhookReceipt}
    return _post(f"/webhooks/{path}", PUBLIC, summary, answer, problems=problems, headers=WebhookHeaders, body=body)


def _health(part: str, summary: str) -> Operation:
    return _get(f"/health/{part}", PUBLIC, summary, {200: answers.Health, 503: answers.Health})


_ENDPOINTS = "/api/webhook-endpoints"

_BY_TAG: dict[str, tuple[Operation, ...]] = {
    "Payments": (
        _post(
            "/api/payments/deposit",
            DEPOSITORS,
            "Ask for a deposit",
            {201: answers.PaymentBody, 202: answers.PaymentBody},
            headers=DepositHeaders,
            body=DepositRequest,
        ),
        _get("/api/payments", READERS, "List payments, newest first", {200: answers.PaymentList}, PaymentsQuery),
        _get(
            "/api/payments/{id}",
            READERS,
            "Read a payment, waiting for a change where asked",
            {200: answers.PaymentBody},
            PaymentQuery,
        ),
        _post(
            "/api/payments/{id}/cancel",
            DEPOSITORS,
            "Cancel a payment that has not ended",
            {200: answers.PaymentBody},
            problems=(409,),
        ),
        _get(
            "/api/payments/{id}/timeline",
            READERS,
            "What happened to a payment; for client tokens its states and the user's own entries",
            {200: answers.Timeline},
        ),
    ),
    "Refunds": (
        _post(
            "/api/payments/{id}/refunds",
            BACKENDS,
            "Give money of a payment back to its payer",
            {202: answers.RefundBody},
            problems=(409,),
            headers=RefundHeaders,
            body=RefundAsked,
            body_is_optional=True,
        ),
        _get("/api/payments/{id}/refunds", KEYS, "The refunds of a payment, oldest first", {200: answers.RefundList}),
        _get("/api/refunds/{id}", KEYS, "Read a refund", {200: answers.RefundBody}),
    ),
    "Providers": (_get("/api/providers", KEYS, "The tenant's providers", {200: tenant_answers.ProviderList}, NoQuery),),
    "Wallets": (
        _get("/api/wallets/{user_id}", READERS, "A user's wallets", {200: wallet_answers.WalletList}, problems=(404,)),
        _get(
            "/api/wallets/{user_id}/transactions",
            READERS,
            "A user's wallet entries, newest first",
            {200: wallet_answers.EntryList},
            EntriesQuery,
            (404,),
        ),
    ),
    "Debits": (
        _post(
            "/api/wallets/{user_id}/debits",
            SPENDERS,
            "Take money out of a user's wallet",
            {201: wallet_answers.DebitBody},
            problems=(404, 409),
            headers=DebitHeaders,
            body=DebitAsked,
        ),
        _get("/api/debits", KEYS, "List debits, newest first", {200: wallet_answers.DebitList}, DebitsQuery),
        _get("/api/debits/{id}", KEYS, "Read a debit", {200: wallet_answers.DebitBody}),
        _post(
            "/api/debits/{id}/reverse",
            SPENDERS,
            "Give the money of a debit back to its wallet, once",
            {200: wallet_answers.DebitBody},
            problems=(409,),
            body=ReversalAsked,
            body_is_optional=True,
        ),
    ),
    "Events": (_get("/api/events", READERS, "Notifications with a larger id", {200: answers.EventList}, EventsQuery),),
    "Webhook endpoints": (
        _post(_ENDPOINTS, ADMINS, "Make an endpoint", {201: EndpointWithSecret}, problems=(409,), body=EndpointAsked),
        _get(_ENDPOINTS, KEYS, "The tenant's endpoints, newest first", {200: EndpointPage}, EndpointsQuery),
        _get(f"{_ENDPOINTS}/{{id}}", KEYS, "Read an endpoint", {200: EndpointBody}),
        Operation(
            *("PATCH", f"{_ENDPOINTS}/{{id}}", ADMINS, "Change an endpoint", {200: ChangedEndpoint}),
            body=EndpointChanges,
        ),
        Operation("DELETE", f"{_ENDPOINTS}/{{id}}", ADMINS, "Delete an endpoint", {204: None}),
        _post(
            f"{_ENDPOINTS}/{{id}}/rotate-secret",
            ADMINS,
            "Give an endpoint a new secret",
            {200: EndpointWithSecret},
            body=RotationAsked,
            body_is_optional=True,
        ),
        _post(f"{_ENDPOINTS}/{{id}}/test", ADMINS, "Deliver `endpoint.test`", {202: DeliveryBody}, problems=(409,)),
        _get(
            f"{_ENDPOINTS}/{{id}}/deliveries",
            KEYS,
            "An endpoint's deliveries with their attempts, newest first",
            {200: DeliveryPage},
            DeliveriesQuery,
        ),
        _post(
            f"{_ENDPOINTS}/{{id}}/redeliver",
            DECIDERS,
            "Deliver a range of events once more",
            {202: RedeliveredBody},
            problems=(409,),
            body=RangeAsked,
            body_is_optional=True,
        ),
        _get("/api/webhook-deliveries/{id}", KEYS, "Read a delivery with its attempts", {200: DeliveryBody}),
        _post(
            "/api/webhook-deliveries/{id}/redeliver",
            DECIDERS,
            "Deliver once more",
            {202: DeliveryBody},
            problems=(409,),
        ),
    ),
    "Access": (
        _post(
            "/api/client-tokens",
            BACKENDS,
            "Make a token for a user's browser",
            {201: tenant_answers.ClientTokenBody},
            body=ClientTokenRequest,
        ),
        _get(
            "/api/keys",
            ADMINS,
            "The tenant's secret keys, without their secrets",
            {200: tenant_answers.KeyList},
            NoQuery,
        ),
        _post("/api/tickets", CLIENTS, "Make a single-use pass for one stream", {201: tenant_answers.Ticket}),
    ),
    "Dead letters": (
        _get(
            "/api/dead-letters",
            DECIDERS,
            "List dead letters, newest first",
            {200: answers.DeadLetterList},
            DeadLettersQuery,
        ),
        _get(
            "/api/dead-letters/{id}",
            DECIDERS,
            "Read a dead letter with its bytes and history",
            {200: answers.DeadLetterDetail},
        ),
        _decide("redrive", "Make its work due again; safe to do twice"),
        _decide("accept", "Credit the money in it"),
        _decide("reject", "Close it without a credit"),
        _post(
            "/api/dead-letters/redrive",
            DECIDERS,
            "Make the work of all open ones that fit due again",
            {200: answers.RedriveList},
            query=RedriveQuery,
            body=ReasonRequest,
            body_is_optional=True,
        ),
    ),
    "Webhooks": (
        _webhook("payment-success", "A provider says that money arrived"),
        _webhook("payment-failed", "A provider says that a payment failed or was cancelled"),
        _webhook("payment-callback", "A provider says how a payment went"),
        _webhook("{provider_id}", "A webhook in a provider's own form", ProviderBody),
    ),
    "Watching": (
        _get("/health/live", PUBLIC, "Whether this process answers", {200: answers.Health}),
        _health("ready", "Whether this process can store a row"),
        _health("work", "Whether due work is being done"),
        _get("/metrics", PUBLIC, "Prometheus text", {200: None}, problems=(403,)),
        _get("/openapi.json", PUBLIC, "This document", {200: None}),
    ),
}
OPERATIONS = tuple(replace(operation, tag=tag) for tag, group in _BY_TAG.items() for operation in group)

# Pages, files, live connections, and URLs that are secrets of providers: not part of the API's document.
PAGES = frozenset(
    {
        *("/", "/docs", "/docs/reference", "/static/{filename}", "/static/sluice-{tag}.js", "/ws", "/api/stream"),
        *("/demo", "/demo/providers", "/demo/token"),
        "/webhooks/{provider_id}/{url_token}",
    }
)

BY_ROUTE: dict[tuple[str, str], Operation] = {(item.method, item.rule): item for item in OPERATIONS}
