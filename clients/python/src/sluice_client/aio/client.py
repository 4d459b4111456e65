"""The calls of the API that a shop's backend makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from sluice_client.aio.sender import AsyncSender
from sluice_client.aio.stream import AsyncEventStream
from sluice_client.calls import RETRIES_DEFAULT, Call, amount_text, key_header, segment, time_text, without_none
from sluice_client.errors import SluiceError
from sluice_client.models import (
    ClientToken,
    Customer,
    Debit,
    Entry,
    Event,
    Page,
    Payment,
    PaymentStatus,
    Provider,
    Refund,
    Rows,
    Wallet,
)

Item = TypeVar("Item")
# The longest that the server holds a waiting request back.
_PAYMENT_WAIT_MAX = 10
_EVENTS_WAIT_MAX = 30


class AsyncClient:
    """A shop's backend, with a secret key (`sk_...`), towards the Sluice at `base_url`.

    Calls that are safe to repeat are sent again, up to `retries` times, after a lost answer, 429, 500, 502, 503 and
    504, with growing pauses or the server's own. Calls that move money carry an idempotency key, a new one unless one
    is given; give your own (an order's id) where your process may die before it has the answer. `on_retry` gets each
    error after which a call is sent again. Raises ApiError and NoAnswerError.
    """

    def __init__(
        self,
        base_url: str,
        secret_key: str,
        *,
        retries: int = RETRIES_DEFAULT,
        on_retry: Callable[[SluiceError], None] | None = None,
    ) -> None:
        self._sender = AsyncSender(base_url, secret_key, retries, on_retry)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def create_client_token(self, user_id: str) -> ClientToken:
        """Make a token for one user's browser; it lasts 15 minutes."""
        return await self._sender.send(Call[ClientToken]("POST", "/api/client-tokens", body={"user_id": user_id}))

    async def create_deposit(
        self,
        user_id: str,
        amount: str | Decimal,
        currency: str,
        *,
        provider_id: str | None = None,
        success_url: str | None = None,
        failure_url: str | None = None,
        metadata: Mapping[str, str] | None = None,
        customer: Customer | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
        wait: int = _PAYMENT_WAIT_MAX,
    ) -> Payment:
        """Ask for a deposit; return the payment once its `redirect_url` is there or `wait` seconds have passed."""
        body = without_none(
            user_id=user_id,
            amount=amount_text(amount),
            currency=currency,
            provider_id=provider_id,
            success_url=success_url,
            failure_url=failure_url,
            metadata=metadata,
            customer=customer,
            description=description,
        )
        headers = {**key_header(idempotency_key), "Prefer": f"wait={wait}"}
        path = "/api/payments/deposit"
        return await self._sender.send(Call[Payment]("POST", path, body=body, headers=headers, wait=wait))

    async def get_payment(
        self, payment_id: str, *, wait: int = 0, version: int | None = None, until: Literal["ended"] | None = None
    ) -> Payment:
        """Return a payment; with `wait` as soon as its version is another one, or with `until` as soon as it ended."""
        query = without_none(wait=wait or None, version=version, until=until)
        return await self._sender.send(
            Call[Payment]("GET", f"/api/payments/{segment(payment_id)}", query=query, wait=wait)
        )

    async def list_payments(
        self,
        *,
        user_id: str | None = None,
        status: PaymentStatus | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Payment]:
        """Return a page of payments, newest first."""
        query = without_none(
            user_id=user_id,
            status=status,
            created_after=time_text(created_after),
            created_before=time_text(created_before),
            limit=limit,
            cursor=cursor,
        )
        return await self._sender.send(Call[Page[Payment]]("GET", "/api/payments", query=query))

    async def cancel_payment(self, payment_id: str) -> Payment:
        """Cancel an open payment. Raise ApiError (409) for one that ended."""
        path = f"/api/payments/{segment(payment_id)}/cancel"
        return await self._sender.send(Call[Payment]("POST", path, is_repeatable=False))

    async def create_refund(
        self,
        payment_id: str,
        amount: str | Decimal | None = None,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        provider_reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        """Give money of a payment back to its payer: `amount`, or all that is left."""
        body = without_none(
            amount=None if amount is None else amount_text(amount),
            reason=reason,
            metadata=metadata,
            provider_reference=provider_reference,
        )
        path = f"/api/payments/{segment(payment_id)}/refunds"
        return await self._sender.send(Call[Refund]("POST", path, body=body, headers=key_header(idempotency_key)))

    async def get_refund(self, refund_id: str) -> Refund:
        """Return a refund."""
        return await self._sender.send(Call[Refund]("GET", f"/api/refunds/{segment(refund_id)}"))

    async def list_refunds(self, payment_id: str) -> list[Refund]:
        """Return the refunds of a payment, oldest first."""
        path = f"/api/payments/{segment(payment_id)}/refunds"
        return (await self._sender.send(Call[Rows[Refund]]("GET", path)))["data"]

    async def list_wallets(self, user_id: str) -> list[Wallet]:
        """Return a user's wallets, one a currency."""
        path = f"/api/wallets/{segment(user_id)}"
        return (await self._sender.send(Call[Rows[Wallet]]("GET", path)))["data"]

    async def list_entries(
        self, user_id: str, *, currency: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Entry]:
        """Return a page of a user's wallet entries, newest first."""
        query = without_none(currency=currency, limit=limit, cursor=cursor)
        path = f"/api/wallets/{segment(user_id)}/transactions"
        return await self._sender.send(Call[Page[Entry]]("GET", path, query=query))

    async def create_debit(
        self,
        user_id: str,
        amount: str | Decimal,
        currency: str,
        reference: str,
        *,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Debit:
        """Take money out of a user's wallet for `reference`, such as an order. 409 where less is available."""
        body = without_none(amount=amount_text(amount), currency=currency, reference=reference, description=description)
        path = f"/api/wallets/{segment(user_id)}/debits"
        return await self._sender.send(Call[Debit]("POST", path, body=body, headers=key_header(idempotency_key)))

    async def get_debit(self, debit_id: str) -> Debit:
        """Return a debit."""
        return await self._sender.send(Call[Debit]("GET", f"/api/debits/{segment(debit_id)}"))

    async def reverse_debit(self, debit_id: str, reason: str | None = None) -> Debit:
        """Give the money of a debit back to its wallet. Raise ApiError (409) for one that was reversed before."""
        path = f"/api/debits/{segment(debit_id)}/reverse"
        return await self._sender.send(Call[Debit]("POST", path, body=without_none(reason=reason), is_repeatable=False))

    async def list_providers(self) -> list[Provider]:
        """Return the tenant's providers."""
        return (await self._sender.send(Call[Rows[Provider]]("GET", "/api/providers")))["data"]

    async def list_events(
        self, after: int = 0, *, limit: int | None = None, cursor: str | None = None, wait: int = 0
    ) -> Page[Event]:
        """Return the events with a larger id, oldest first; with `wait` (at most 30) as soon as there is one."""
        query = without_none(after=after, limit=limit, cursor=cursor, wait=wait or None)
        waited = min(wait, _EVENTS_WAIT_MAX)
        return await self._sender.send(Call[Page[Event]]("GET", "/api/events", query=query, wait=waited))

    def stream_events(self, after: int, *, transport: Literal["poll", "sse"] = "poll") -> AsyncEventStream:
        """Return a stream of all events with an id above `after` (0 is the start), as they come, without an end.

        It resumes by itself where the connection or the server fails. Store `event["id"]` with what you made of the
        event: the stream from that id on neither misses an event nor repeats one. `poll` works wherever the API does;
        `sse` holds one connection to the sockets.
        """
        return AsyncEventStream(self._sender, after, transport)

    async def iterate(self, list_page: Callable[..., Any], **filters: Any) -> AsyncIterator[Any]:
        """Yield every item of a list, page by page: `client.iterate(client.list_payments, status="completed")`."""
        cursor = None
        while True:
            page = await list_page(cursor=cursor, **filters)
            for item in page["data"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return
