"""A provider with a real socket that answers whatever bytes a test gives it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.core.payment import Payment
from testbed.shop import Shop
from tests.support.engine import Engine
from tests.support.false_provider import FalseServer, open_server


def encode_answer(content: bytes, status: int = 200, **headers: str) -> bytes:
    """Return an HTTP answer with `content` as its body."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def encode_json(status: int = 200, /, **body: Any) -> bytes:
    """Return an HTTP answer with `body` as JSON."""
    return encode_answer(json.dumps(body).encode(), status)


ATTEMPTS = 3
GOOD = {"reference": "ref_1", "redirect_url": "https://pay.example/1", "status": "open", "amount": "25.00"}


@dataclass
class OddProvider:
    """The provider of a shop: each call gets the next of `answers`, and the last one again and again."""

    engine: Engine
    shop: Shop
    server: FalseServer
    answers: list[bytes] = field(default_factory=list)

    def answer(self, *answers: bytes) -> None:
        """Set the answers to the calls that follow."""
        self.answers[:] = answers

    def start(self, **changes: Any) -> Payment:
        """Return a payment that the provider has; its next call will be answered with GOOD and `changes`."""
        self.answer(encode_json(201, **GOOD))
        payment = self.shop.deposit()
        self.engine.call()
        self.answer(encode_json(200, **(GOOD | changes)))
        return self.shop.payment(payment.id)

    @property
    def calls(self) -> int:
        """The number of calls so far."""
        return len(self.server.requests)

    def call_again(self, payment: Payment) -> None:
        """Make the payment's next call now, although its provider may be paused."""
        self.engine.databases.rows("delete from provider_breakers where provider_id = :id", id=self.shop.provider_id)
        self.engine.ask(payment.id)

    def failures(self) -> int:
        """Return the failed calls in a row that the breaker has counted."""
        query = "select coalesce(max(failures), 0) from provider_breakers where provider_id = :id"
        return int(self.engine.databases.value(query, id=self.shop.provider_id))

    def alarms(self, kind: str) -> int:
        """Return the number of alarms of this kind about the shop."""
        query = "select count(*) from alerts where tenant_id = :id and kind = :kind"
        return int(self.engine.databases.value(query, id=self.shop.tenant_id, kind=kind))


@contextlib.contextmanager
def open_odd_provider(engine: Engine, shop: Shop) -> Iterator[OddProvider]:
    """Give `shop` a provider that is called ATTEMPTS times at most; nothing of its work is left afterwards."""
    answers: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(answers[0] if len(answers) == 1 else answers.pop(0))

    with open_server(talk) as server:
        url = f"http://127.0.0.1:{server.port}"
        engine.databases.rows(
            "update payment_providers set api_base_url = :url, attempts_max = :attempts where id = :id",
            url=url,
            attempts=ATTEMPTS,
            id=shop.provider_id,
        )
        yield OddProvider(engine, shop, server, answers)
    for table in ("payment_work", "provider_breakers"):
        engine.databases.rows(f"delete from {table} where provider_id = :id", id=shop.provider_id)
