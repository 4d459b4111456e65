"""The webhook doors: what is refused, how, and what is kept of it (CONTRACT section 4)."""

from __future__ import annotations

import http.client
import json
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

from app.core.payment import Payment
from app.core.signatures import encode_secret
from app.services.tenants.webhook_secrets import rotate_secret
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import problem_of
from tests.support.engine import Engine

PATHS = ("payment-success", "payment-failed", "payment-callback")


@pytest.fixture
def payment(engine: Engine, shop: Shop) -> Payment:
    return engine.start(shop)


def post(front: Stack, path: str, body: bytes, headers: dict[str, str]) -> requests.Response:
    return requests.post(f"{front.web}/webhooks/{path}", data=body, headers=headers, timeout=20, allow_redirects=False)


def stored(databases: Databases, shop: Shop) -> int:
    """How many webhooks of the tenant's are in the inbox."""
    count = databases.value("select count(*) from payment_webhooks where tenant_id = :id", id=shop.tenant_id)
    return int(count)


def newest_refusal(databases: Databases) -> dict[str, Any]:
    """Return the newest record of a refused delivery."""
    rows = databases.rows(
        "select reason, tenant_id, remote_address, body_head from webhook_refusals order by sequence desc limit 1"
    )
    return rows[0] | {"body_head": bytes(rows[0]["body_head"])}


Change = Callable[[Shop, bytes], tuple[bytes, dict[str, str]]]


def with_headers(**changes: str | None) -> Change:
    """Return a change to the right headers: some replaced, or removed."""

    def change(shop: Shop, body: bytes) -> tuple[bytes, dict[str, str]]:
        headers = shop.sign(body)
        for name, value in changes.items():
            headers.pop(name.replace("_", "-"))
            if value is not None:
                headers[name.replace("_", "-")] = value
        return body, headers

    return change


REFUSED: dict[str, tuple[Change, int, str]] = {
    "no signature": (with_headers(webhook_signature=None), 400, "signature"),
    "no id": (with_headers(webhook_id=None), 400, "webhook_id"),
    "no timestamp": (with_headers(webhook_timestamp=None), 400, "timestamp"),
    "another id": (with_headers(webhook_id="msg_other"), 400, "signature"),
    "an id with a comma": (lambda shop, body: (body, shop.sign(body, "a,b")), 400, "webhook_id"),
    "an id too long": (lambda shop, body: (body, shop.sign(body, "x" * 256)), 400, "webhook_id"),
    "another secret": (lambda shop, body: (body, shop.sign(body, secret=encode_secret(bytes(32)))), 400, "signature"),
    "another body": (lambda shop, body: (body + b" ", shop.sign(body)), 400, "signature"),
    "too old": (lambda shop, body: (body, shop.sign(body, timestamp=int(time.time()) - 320)), 400, "timestamp"),
    "too new": (lambda shop, body: (body, shop.sign(body, timestamp=int(time.time()) + 320)), 400, "timestamp"),
    "no time": (lambda shop, body: (body, shop.sign(body, timestamp="soon")), 400, "timestamp"),
    "a time in milliseconds": (
        lambda shop, body: (body, shop.sign(body, timestamp=int(time.time() * 1000))),
        400,
        "timestamp",
    ),
    "only unknown versions": (with_headers(webhook_signature="v2,abc v1a,def"), 400, "signature"),
    "too many entries": (with_headers(webhook_signature=" ".join(["v1,x"] * 11)), 400, "signature"),
    "too long a signature": (with_headers(webhook_signature="v1," + "x" * 4096), 400, "signature"),
    "no JSON": (lambda shop, body: (body[:-1], shop.sign(body[:-1])), 400, "json"),
    "a key twice": (lambda shop, body: (body[:-1] + b', "status": "failed"}', shop.sign(body)), 400, "json"),
    "no object": (lambda shop, body: (b"[]", shop.sign(b"[]")), 400, "json"),
    "no provider": (lambda shop, body: (b'{"a": 1}', shop.sign(b'{"a": 1}')), 400, "json"),
    "a number for a provider": (
        lambda shop, body: (b'{"provider_id": 1}', shop.sign(b'{"provider_id": 1}')),
        400,
        "json",
    ),
    "not UTF-8": (lambda shop, body: (b'"\xff"', shop.sign(b'"\xff"')), 400, "json"),
    "empty": (lambda shop, body: (b"", shop.sign(b"")), 400, "json"),
    "form data": (with_headers(content_type="application/x-www-form-urlencoded"), 415, "media_type"),
    "no media type": (with_headers(content_type=None), 415, "media_type"),
}


@pytest.mark.parametrize(("change", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_refused_delivery_leaves_a_record_and_nothing_else(
    front: Stack, shop: Shop, payment: Payment, change: Change, status: int, reason: str
) -> None:
    body, headers = change(shop, shop.body(payment))
    problem_of(post(front, "payment-success", body, headers), status)
    record = newest_refusal(front.databases)
    assert (record["reason"], record["body_head"]) == (reason, body)
    assert record["remote_address"] == "127.0.0.1"
    assert stored(front.databases, shop) == 0
    assert shop.payment(payment.id).status == "processing"


def test_a_body_is_bounded_and_only_its_head_is_kept(front: Stack, shop: Shop, payment: Payment) -> None:
    base = json.loads(shop.body(payment))
    room = 256 * 1024 - len(json.dumps(base | {"pad": ""}))
    fits = json.dumps(base | {"pad": "x" * room}).encode()
    assert len(fits) == 256 * 1024
    problem_of(post(front, "payment-success", fits + b" ", shop.sign(fits + b" ")), 413)
    assert newest_refusal(front.databases)["reason"] == "too_large"
    assert len(newest_refusal(front.databases)["body_head"]) <= 4096
    problem_of(post(front, "payment-success", fits, shop.sign(fits) | {"webhook-id": "other"}), 400)
    assert len(newest_refusal(front.databases)["body_head"]) == 4096
    assert post(front, "payment-success", fits, shop.sign(fits)).status_code == 200


def test_an_unannounced_length_is_bounded_too(front: Stack, shop: Shop) -> None:
    def endless() -> Any:
        for _ in range(40):
            yield b"x" * 16_384

    answer = requests.post(f"{front.web}/webhooks/payment-success", data=endless(), headers=shop.sign(b""), timeout=20)
    problem_of(answer, 413)


@pytest.mark.parametrize("path", [*PATHS, "provider"])
def test_unknown_providers_are_404_on_every_path(front: Stack, shop: Shop, payment: Payment, path: str) -> None:
    for unknown in (str(uuid.uuid4()), "nobody", "0" * 36):
        body = shop.body(payment, provider_id=unknown)
        problem_of(post(front, unknown if path == "provider" else path, body, shop.sign(body)), 404)
        assert newest_refusal(front.databases)["reason"] == "unknown_provider"
        assert newest_refusal(front.databases)["tenant_id"] is None


def test_a_status_that_contradicts_the_path_is_400(front: Stack, shop: Shop, payment: Payment) -> None:
    contradictions = [("payment-success", "failed"), ("payment-success", "cancelled"), ("payment-failed", "success")]
    for path, status in contradictions:
        body = shop.body(payment, status)
        problem_of(post(front, path, body, shop.sign(body)), 400)
        assert newest_refusal(front.databases)["reason"] == "path"
    assert stored(front.databases, shop) == 0
    for path, status in (("payment-failed", "cancelled"), ("payment-callback", "cancelled")):
        body = shop.body(payment, status)
        assert post(front, path, body, shop.sign(body)).status_code == 200


def test_addresses_that_are_not_allowed_are_403(front: Stack, shop: Shop, payment: Payment) -> None:
    def allow(*networks: str) -> None:
        front.databases.rows(
            "update payment_providers set ip_allowlist = :networks where id = :id",
            networks=list(networks),
            id=shop.provider_id,
        )

    body = shop.body(payment)
    allow("192.0.2.0/24", "2001:db8::/32")
    headers = shop.sign(body)
    problem_of(post(front, "payment-success", body, headers), 403)
    # What a client says of itself is not believed.
    problem_of(post(front, "payment-success", body, headers | {"X-Forwarded-For": "192.0.2.1"}), 403)
    assert newest_refusal(front.databases)["reason"] == "address"
    allow("192.0.2.0/24", "127.0.0.0/8")
    # A process may remember a provider for a second.
    wait_until(lambda: post(front, "payment-success", body, headers).status_code == 200, "the address is allowed")


def test_headers_given_twice_or_with_underscores_do_not_count(front: Stack, shop: Shop, payment: Payment) -> None:
    body = shop.body(payment)
    headers = shop.sign(body)
    underscored = {name.replace("-", "_") if name.startswith("webhook") else name: headers[name] for name in headers}
    problem_of(post(front, "payment-success", body, underscored), 400)
    assert raw_post(front, body, [*headers.items(), ("webhook-id", headers["webhook-id"])]) == 400
    assert raw_post(front, body, [*headers.items(), ("Webhook-Signature", "v1,forged")]) == 400
    assert raw_post(front, body, [*headers.items(), ("webhook_id", "forged")]) == 200


def raw_post(front: Stack, body: bytes, headers: list[tuple[str, str]]) -> int:
    """Send headers as they are, doubled ones too; return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", front.ports.web, timeout=20)
    connection.putrequest("POST", "/webhooks/payment-success")
    for name, value in (*headers, ("Content-Length", str(len(body)))):
        connection.putheader(name, value)
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_old_secrets_hold_until_their_end(front: Stack, shop: Shop, payment: Payment) -> None:
    body = shop.body(payment)
    fresh = rotate_secret(front.runtime, shop.provider_id, 3600, ACTOR)
    for secret in (shop.webhook_secret, fresh):
        assert post(front, "payment-success", body, shop.sign(body, secret=secret)).status_code == 200
    ended = "update provider_secrets set ends_at = now() where provider_id = :id and ends_at is not null"
    front.databases.rows(ended, id=shop.provider_id)
    wait_until(lambda: post(front, "payment-success", body, shop.sign(body)).status_code == 400, "the old one ends")
    assert post(front, "payment-success", body, shop.sign(body, secret=fresh)).status_code == 200


def test_refusals_are_kept_in_a_bounded_ring(front: Stack) -> None:
    assert front.databases.value("select max_value from pg_sequences where sequencename = 'refusal_slots'") == 10_000
    assert front.databases.value("select count(*) from webhook_refusals") <= 10_000


def test_nothing_that_is_sent_is_answered_with_500(front: Stack, shop: Shop, payment: Payment) -> None:
    honest = json.loads(shop.body(payment))
    odd: list[Any] = [None, True, 1.5, "", "\x00", "x" * 5000, [], {"a": [{}]}, "\ud800", 10**20]
    codes = set()
    for field in (*honest, "error_message", "occurred_at"):
        for value in odd:
            body = json.dumps(honest | {field: value}).encode()
            webhook_id = "msg_" + secrets.token_hex(8)
            codes.add(post(front, "payment-callback", body, shop.sign(body, webhook_id)).status_code)
            own = post(front, str(shop.provider_id), body, shop.sign(body, "own_" + webhook_id))
            codes.add(own.status_code)
    assert codes == {200, 400, 404}


def test_the_timeline_shows_a_refused_delivery_to_its_own_tenant_only(
    front: Stack, shop: Shop, payment: Payment
) -> None:
    body = shop.body(payment)
    forged = shop.sign(body) | {"webhook-signature": "v1," + "A" * 43 + "="}
    assert post(front, "payment-success", body, forged).status_code == 400
    other = front.make_shop()
    theirs = other.body(payment)
    assert post(front, "payment-success", theirs, forged).status_code == 400

    headers = {"Authorization": f"Bearer {shop.secret_key}"}
    answer = requests.get(f"{front.web}/api/payments/{payment.id}/timeline", headers=headers, timeout=20)
    refused = [event for event in answer.json()["data"] if event["kind"] == "webhook_refused"]
    assert [event["detail"] for event in refused] == [{"reason": "signature"}]
