"""A header that decides something and comes twice is refused: WSGI joins the two, and which counts is not certain."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

import pytest

from app.core.signatures import HMAC_HEX, STRIPE
from app.http.request_heads import MARK, mark_doubled
from app.services.tenants import providers
from app.services.tenants.providers import NewProvider
from testbed.shop import ACTOR, NOWHERE, Shop
from testbed.stack import Stack
from tests.security.raw_http import build_request, send

JSON = ("Content-Type", "application/json")


def status_of(
    web_stack: Stack, path: str, headers: list[tuple[str, str]], body: bytes = b"", method: str = "POST"
) -> int:
    status, received = send(web_stack.web, build_request(path, headers, body, method))
    assert status < 500, received[:400]
    return status


@pytest.mark.parametrize("second", ["v1,{digest}", "v1", "x", "", "v2,abc"])
@pytest.mark.parametrize("is_first", [True, False])
def test_two_signature_headers_are_refused_however_they_are_written(
    web_stack: Stack, shop: Shop, second: str, is_first: bool
) -> None:
    body = shop.body(shop.deposit())
    good = list(shop.sign(body).items())
    signature = good[-1][1]
    other = ("Webhook-Signature", second.format(digest=signature[3:]))
    headers = [other, *good] if is_first else [*good, other]
    assert status_of(web_stack, "/webhooks/payment-success", headers, body) == 400
    # One header that is torn in two, which a comma puts together again, is no signature either.
    torn = [*good[:-1], ("webhook-signature", "v1"), ("webhook-signature", signature[3:])]
    assert status_of(web_stack, f"/webhooks/{shop.provider_id}", torn, body) == 400
    assert (
        web_stack.databases.value("select count(*) from payment_webhooks where tenant_id = :id", id=shop.tenant_id) == 0
    )
    assert status_of(web_stack, "/webhooks/payment-success", good, body) == 200


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "content-type", "host"])
def test_other_headers_of_a_delivery_come_once(web_stack: Stack, shop: Shop, name: str) -> None:
    body = shop.body(shop.deposit())
    good = list(shop.sign(body).items())
    value = dict(good).get(name, "localhost")
    assert status_of(web_stack, "/webhooks/payment-success", [*good, (name.title(), value)], body) == 400
    # What gunicorn itself refuses never comes to the record of refusals.
    kept = web_stack.databases.rows(
        "select reason from webhook_refusals where payment_id = :id", id=json.loads(body)["transaction_id"]
    )
    assert kept == ([{"reason": "doubled_header"}] if name.startswith("webhook-") else [])


def new_provider(shop: Shop, **more: str) -> tuple[str, str]:
    new = NewProvider(shop.tenant_id, "p" + secrets.token_hex(4), "sandbox", NOWHERE, {"api_key": "sbk_key"}, **more)
    provider_id, secret = providers.create_provider(shop.runtime, new, ACTOR)
    return str(provider_id), secret


def test_the_headers_of_other_schemes_come_once_as_well(web_stack: Stack, shop: Shop) -> None:
    provider_id, secret = new_provider(shop, webhook_scheme=HMAC_HEX, signature_header="X-Pay-Sig")
    body = shop.body(shop.deposit(), provider_id=provider_id)
    signature = ("X-Pay-Sig", hmac.new(secret.encode(), body, hashlib.sha256).hexdigest())
    for other in (signature, ("x-pay-sig", ""), ("X-PAY-SIG", "sha256=00")):
        for headers in ([JSON, signature, other], [JSON, other, signature]):
            assert status_of(web_stack, "/webhooks/payment-success", headers, body) == 400
    assert status_of(web_stack, "/webhooks/payment-success", [JSON, signature], body) == 200
    provider_id, _ = new_provider(shop, webhook_scheme=STRIPE)
    halves = [("Stripe-Signature", "t=1"), ("Stripe-Signature", "v1=" + "0" * 64)]
    assert status_of(web_stack, f"/webhooks/{provider_id}", [JSON, *halves], body) == 400


def test_two_credentials_or_keys_are_no_request(web_stack: Stack, shop: Shop) -> None:
    good = ("Authorization", f"Bearer {shop.secret_key}")
    for other in (good, ("authorization", ""), ("Authorization", "Basic eDp5"), ("Authorization", "Bearer sk_x")):
        for headers in ([good, other], [other, good]):
            assert status_of(web_stack, "/api/payments", headers, method="GET") == 400
    body = b'{"user_id": "ann", "amount": "1.00", "currency": "USD"}'
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    assert status_of(web_stack, "/api/payments/deposit", [good, JSON, *keys], body) == 400
    query = "select count(*) from payment_transactions where tenant_id = :id"
    assert web_stack.databases.value(query, id=shop.tenant_id) == 0
    for name in ("Host", "Origin", "Content-Type"):
        twice = [(name, "https://shop.example"), (name, "https://shop.example")]
        assert status_of(web_stack, "/api/payments", [good, *twice], method="GET") == 400
    # Lists may come in several headers.
    lists = [("Prefer", "respond-async"), ("Prefer", "wait=0"), ("Accept", "*/*"), ("Accept", "text/html")]
    assert status_of(web_stack, "/api/payments", [good, *lists], method="GET") == 200


def test_the_mark_cannot_come_from_outside(web_stack: Stack, shop: Shop) -> None:
    headers = [("Authorization", f"Bearer {shop.secret_key}"), (MARK, "authorization")]
    assert status_of(web_stack, "/api/payments", headers, method="GET") == 200
    assert mark_doubled([("A", "1"), (MARK, "a")]) == [("A", "1")]
    assert mark_doubled([("A", "1"), ("A", "2"), (MARK, "")]) == [("A", "1"), ("A", "2"), (MARK, "a")]


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: xchunked\r\n\r\n{}",
        b"Transfer-Encoding: chunked, xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2, 2\r\n\r\n{}",
        b"Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}",
    ],
)
@pytest.mark.parametrize("path", ["/webhooks/payment-success", "/api/client-tokens"])
def test_a_body_whose_length_is_not_certain_is_400(web_stack: Stack, shop: Shop, head: bytes, path: str) -> None:
    start = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {shop.secret_key}\r\n"
    ).encode()
    status, received = send(web_stack.web, start + head)
    assert status == 400, received[:300]


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script_Name"])
def test_headers_that_only_a_front_server_sends_are_nobodys_word(web_stack: Stack, shop: Shop, name: str) -> None:
    headers = [("Authorization", f"Bearer {shop.secret_key}"), (name, "/elsewhere")]
    assert status_of(web_stack, "/api/payments", headers, method="GET") == 200
