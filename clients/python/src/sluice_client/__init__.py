"""Client of Sluice for a shop's backend: deposits, refunds, wallets, events and webhooks, sync and async."""

from sluice_client.aio.client import AsyncClient
from sluice_client.aio.stream import AsyncEventStream
from sluice_client.blocking.client import Client
from sluice_client.blocking.stream import EventStream
from sluice_client.errors import ApiError, EventsMissingError, NoAnswerError, SluiceError, WebhookVerificationError
from sluice_client.models import (
    ClientToken,
    Customer,
    Debit,
    Dispute,
    Entry,
    Event,
    FieldError,
    Page,
    Payment,
    Provider,
    Refund,
    Wallet,
)
from sluice_client.webhooks import verify_webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncEventStream",
    "Client",
    "ClientToken",
    "Customer",
    "Debit",
    "Dispute",
    "Entry",
    "Event",
    "EventStream",
    "EventsMissingError",
    "FieldError",
    "NoAnswerError",
    "Page",
    "Payment",
    "Provider",
    "Refund",
    "SluiceError",
    "Wallet",
    "WebhookVerificationError",
    "verify_webhook",
]
