"""Alarms go to ALERT_URL as signed webhooks, until somebody takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.services.records import alerts
from app.services.records.alerts import AlertRow
from app.services.tenants import providers
from app.services.upkeep import alert_delivery
from testbed.servers import Databases


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alarms"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet: pytest shows what matters."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def raise_alarm(databases: Databases) -> None:
    with databases.open_runtime() as runtime, runtime.database.transaction("worker") as connection:
        alerts.write(connection, [AlertRow("provider_refused_us", None, {"provider": "sandbox"})])


def due(databases: Databases) -> int:
    return int(databases.value("select count(*) from alerts where due_at is not null"))


def test_an_alarm_is_posted_once_and_its_signature_holds(databases: Databases, receiver: Receiver) -> None:
    secret = providers.new_webhook_secret()
    raise_alarm(databases)
    with databases.open_runtime(ALERT_URL=receiver.url, ALERT_SECRET=secret) as runtime:
        alert_delivery.post_due(runtime)
        alert_delivery.post_due(runtime)

    ((headers, body),) = receiver.got
    # The reference library raises where the signature does not hold.
    assert Webhook(secret).verify(body, headers)["kind"] == "provider_refused_us"
    assert json.loads(body)["severity"] == "critical"
    assert json.loads(body)["detail"] == {"provider": "sandbox"}
    assert due(databases) == 0


def test_an_alarm_that_nobody_takes_is_tried_again(databases: Databases, receiver: Receiver) -> None:
    raise_alarm(databases)
    with databases.open_runtime(ALERT_URL=receiver.url) as runtime:
        receiver.status = 503
        alert_delivery.post_due(runtime)
        assert due(databases) == 1
        assert databases.value("select due_at > now() from alerts") is True

        receiver.status = 200
        databases.rows("update alerts set due_at = now()")
        alert_delivery.post_due(runtime)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [receiver.got[0][0]["webhook-id"]] * 2
    assert due(databases) == 0


def test_without_an_address_an_alarm_is_a_row_alone(databases: Databases) -> None:
    raise_alarm(databases)
    with databases.open_runtime() as runtime:
        alert_delivery.post_due(runtime)
    assert due(databases) == 0
    assert databases.value("select count(*) from alerts") == 1


def test_a_secret_that_cannot_sign_loses_no_alarm(databases: Databases, receiver: Receiver) -> None:
    raise_alarm(databases)
    with databases.open_runtime(ALERT_URL=receiver.url, ALERT_SECRET="whsec_short") as runtime:
        alert_delivery.post_due(runtime)
    assert (receiver.got, due(databases), databases.value("select attempts from alerts")) == ([], 1, 0)
    with databases.open_runtime(ALERT_URL=receiver.url, ALERT_SECRET=providers.new_webhook_secret()) as runtime:
        alert_delivery.post_due(runtime)
    assert (len(receiver.got), due(databases)) == (1, 0)
