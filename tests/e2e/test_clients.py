"""The clients for shops' backends against the whole running product."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from sluice_client import ApiError, AsyncClient, Client, Event, Payment

from testbed.sandbox_control import SandboxControl
from tests.support.clients.js_package import JsPackage
from tests.support.supervised_stack import SupervisedStack

Transport = Literal["poll", "sse"]


@pytest.fixture
def client(full_stack: SupervisedStack) -> Iterator[Client]:
    """Give a client with the demo tenant's key."""
    with Client(full_stack.run["web"], full_stack.run["secret_key"]) as opened:
        yield opened


@pytest.fixture
def user_id() -> str:
    """Give a user without a history."""
    return f"client-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def pay(full_stack: SupervisedStack) -> Callable[[Payment], object]:
    """Give a function that pays as the payer does."""
    sandbox = SandboxControl(full_stack.run["sandbox"])
    return lambda payment: sandbox.act(str(payment["provider_reference"]), "pay")


def _is_about(event: Event, kind: str, payment: Payment) -> bool:
    return event["type"] == kind and event["payment"]["id"] == payment["id"]


def _wait_for(client: Client, kind: str, payment: Payment, transport: Transport = "poll") -> Event:
    return next(event for event in client.stream_events(0, transport=transport) if _is_about(event, kind, payment))


def test_a_deposit_is_made_once_paid_and_spent(client: Client, user_id: str, pay: Callable[[Payment], object]) -> None:
    key = uuid.uuid4().hex
    asked: dict[str, Any] = {"idempotency_key": key, "metadata": {"order": "42"}}
    payment = client.create_deposit(user_id, "25.00", "USD", **asked)
    assert client.create_deposit(user_id, "25.00", "USD", **asked)["id"] == payment["id"]
    assert payment["redirect_url"] is not None
    pay(payment)
    completed = _wait_for(client, "payment.completed", payment)
    assert completed["payment"]["metadata"] == {"order": "42"}
    assert client.get_payment(payment["id"], wait=10, until="ended")["status"] == "completed"
    assert [wallet["available"] for wallet in client.list_wallets(user_id)] == ["25.00"]
    debit = client.create_debit(user_id, "5.00", "USD", "order-42")
    assert client.get_debit(debit["id"])["entry"]["balance_after"] == "20.00"
    assert client.reverse_debit(debit["id"], "cancelled")["status"] == "reversed"
    types = [entry["type"] for entry in client.iterate(client.list_entries, user_id=user_id, limit=2)]
    assert types == ["debit_reversal", "debit", "deposit"]
    refund = client.create_refund(payment["id"], "10.00", reason="damaged")
    refunded = _wait_for(client, "refund.completed", payment)
    assert refunded["refund"]["id"] == refund["id"]
    assert [one["status"] for one in client.list_refunds(payment["id"])] == ["completed"]
    assert client.get_refund(refund["id"])["amount"] == "10.00"


def test_refusals_say_why(client: Client, user_id: str) -> None:
    payment = client.create_deposit(user_id, "25.00", "USD")
    assert client.cancel_payment(payment["id"])["status"] == "cancelled"
    with pytest.raises(ApiError) as raised:
        client.cancel_payment(payment["id"])
    assert (raised.value.status, raised.value.code) == (409, "payment_ended")
    with pytest.raises(ApiError) as raised:
        client.create_deposit(user_id, "25.001", "USD")
    assert (raised.value.code, [error["field"] for error in raised.value.errors]) == ("fields_invalid", ["amount"])
    with pytest.raises(ApiError) as raised:
        client.get_payment(str(uuid.uuid4()))
    assert raised.value.code == "not_found"
    assert [one["id"] for one in client.list_payments(user_id=user_id, status="cancelled")["data"]] == [payment["id"]]
    assert client.create_client_token(user_id)["token"].startswith("ct_")
    assert any(provider["is_default"] for provider in client.list_providers())


@pytest.mark.parametrize("transport", ["poll", "sse"])
def test_events_come_as_they_happen_to_both_kinds_of_client(
    full_stack: SupervisedStack, client: Client, user_id: str, pay: Callable[[Payment], object], transport: Transport
) -> None:
    async def run() -> tuple[Payment, list[Event]]:
        async with AsyncClient(full_stack.run["web"], full_stack.run["secret_key"]) as other:
            payment = await other.create_deposit(user_id, "3.00", "EUR")
            events = []
            async for event in other.stream_events(0, transport=transport):
                if event["payment"]["id"] == payment["id"]:
                    events.append(event)
                    if event["type"] == "payment.redirect_ready":
                        await asyncio.to_thread(pay, payment)
                    else:
                        break
            return payment, events

    payment, events = asyncio.run(run())
    assert [event["type"] for event in events] == ["payment.redirect_ready", "payment.completed"]
    later = client.stream_events(events[0]["id"], transport=transport)
    assert next(event for event in later if event["payment"]["id"] == payment["id"]) == events[1]
    assert later.last_id == events[1]["id"]


def test_the_javascript_client_makes_a_deposit_and_sees_it_arrive(
    full_stack: SupervisedStack, tmp_path: Path, user_id: str, pay: Callable[[Payment], object]
) -> None:
    package = JsPackage.build(tmp_path / "package")
    run = {"baseUrl": full_stack.run["web"], "secretKey": full_stack.run["secret_key"], "user_id": user_id}
    connect = "const client = new sluice.SluiceClient({ baseUrl, secretKey });"
    payment = package.run(
        connect
        + "return client.createDeposit({ user_id, amount: '7.00', currency: 'USD', metadata: { order: '43' } });",
        **run,
    )
    pay(payment)
    shown = package.run(
        connect
        + """for await (const event of client.streamEvents({ after: 0 })) {
          if (event.payment.id !== id || event.type !== 'payment.completed') continue;
          const wallets = await client.listWallets(user_id);
          const debit = await client.createDebit(user_id, { amount: '2.00', currency: 'USD', reference: 'order-43' });
          const { status } = await client.reverseDebit(debit.id, { reason: 'cancelled' });
          const refund = await client.createRefund(id, { amount: '1.00' });
          const token = await client.createClientToken(user_id);
          const refused = await client.cancelPayment(id).catch((error) => error.code);
          return [event.payment.metadata.order, wallets.data[0].available, status, refund.amount, token.token, refused];
        }""",
        **run,
        id=payment["id"],
    )
    assert shown[:4] == ["43", "7.00", "reversed", "1.00"]
    assert shown[4].startswith("ct_")
    assert shown[5] == "payment_ended"
