"""Requests that no client library sends: slow ones, huge ones, ones that say two things at once. Never a 5xx."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import time

import pytest
import requests

from app.http.request_bodies import BODY_SECONDS
from app.web.parsing import API_BODY_BYTES_MAX
from testbed.shop import Shop
from testbed.stack import Stack
from tests.security.raw_http import build_request, connect, read_answer, send

JSON = ("Content-Type", "application/json")


def no_server_error(web_stack: Stack, request: bytes) -> int:
    status, received = send(web_stack.web, request)
    assert status < 500, received[:500]
    return status


STRANGE_TARGETS = [
    "/api/payments/%00",
    "/api/payments/%ff%fe",
    "/api/payments/..%2f..%2fetc%2fpasswd",
    "/api/payments/" + "a" * 7000,
    "/api/wallets/%00",
    "/api/wallets/ann%00",
    "/api/wallets/%ed%a0%80",
    "/api/wallets/" + "%C3%A9" * 500,
    "/api/wallets/ann/transactions?currency=%00",
    "/api/payments?status=%00",
    "/api/payments?user_id=%00&user_id=%00",
    "/api/payments?limit=99999999999999999999999",
    "/api/payments?limit=%D9%A1",
    "/api/payments?limit=-1",
    "/api/payments?limit=1e3",
    "/api/payments?created_after=9999-12-31T23:59:59.999999999Z",
    "/api/payments?created_after=0001-01-01T00:00:00-23:59",
    "/api/payments?created_before=2026-02-30T00:00:00Z",
    "/api/payments?cursor=%00",
    "/api/payments?cursor=AAAA",
    "/api/payments?cursor=" + "A" * 201,
    "/api/payments?cursor=MDAwMS0wMS0wMVQwMDowMDowMCswMDowMCBh",
    "/api/events?after=9223372036854775808",
    "/api/events?after=9223372036854775807",
    "/api/events?cursor=9223372036854775808",
    "/api/payments?" + "&".join(f"x{index}=1" for index in range(900)),
    "/api/payments?" + "=&" * 3000,
    "/api/payments?%ff=%ff",
    "/api/payments/;jsessionid=1",
    "//api/payments",
    "/api//payments",
    "/api/payments/",
    "/API/PAYMENTS",
    "/api/payments#fragment",
    "/static/%2e%2e/%2e%2e/gate.py",
    "/static/..%2f..%2fweb%2fgate.py",
    "/webhooks/%00",
    "/health/live?%00",
    "/metrics?%00=1",
    "*",
    "http://evil.example/api/payments",
    "/%",
    "/%zz",
    "/\x7f",
]


@pytest.mark.parametrize("target", STRANGE_TARGETS, ids=range(len(STRANGE_TARGETS)))
def test_strange_targets_are_answered_with_4xx_at_most(web_stack: Stack, shop: Shop, target: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE"):
        headers = [("Authorization", f"Bearer {shop.secret_key}"), JSON, ("Idempotency-Key", "k")]
        no_server_error(web_stack, build_request(target, headers, b"{}" if method == "POST" else b"", method))


def test_the_code_cannot_be_read_as_a_file(web_stack: Stack) -> None:
    for target in (
        "/static/../gate.py",
        "/static/..%2fgate.py",
        "/static/%2e%2e%2fgate.py",
        "/static//etc/passwd",
    ):
        status, received = send(web_stack.web, build_request(target, [], b"", "GET"))
        assert status == 404, target
        assert b"import " not in received


STRANGE_HEADS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n{}",
    "a length with a sign": b"Content-Length: +2\r\n\r\n{}",
    "a length in words": b"Content-Length: two\r\n\r\n{}",
    "a huge length": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "an unknown coding": b"Transfer-Encoding: gzip\r\n\r\n{}",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a bad chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a folded header": b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a blank before the colon": b"Content-Length : 2\r\n\r\n{}",
    "no colon": b"Nonsense\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL": b"X: \x00\r\nContent-Length: 2\r\n\r\n{}",
    "a bare CR": b"X: a\rY: b\r\nContent-Length: 2\r\n\r\n{}",
    "too many headers": b"X: 1\r\n" * 200 + b"Content-Length: 2\r\n\r\n{}",
    "a header too long": b"X: " + b"y" * 9000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("kind", STRANGE_HEADS)
def test_strange_heads_are_answered_with_4xx_or_not_at_all(web_stack: Stack, shop: Shop, kind: str) -> None:
    start = (
        "POST /api/client-tokens HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {shop.secret_key}\r\n"
    ).encode()
    status = no_server_error(web_stack, start + STRANGE_HEADS[kind])
    assert status == 0 or 400 <= status < 500
    assert requests.get(f"{web_stack.web}/health/live", timeout=20).status_code == 200


@pytest.mark.parametrize(
    "request_line", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02"]
)
def test_what_is_no_request_is_no_answer_or_4xx(web_stack: Stack, request_line: bytes) -> None:
    with contextlib.closing(connect(web_stack.web)) as connection:
        connection.sendall(request_line)
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection)[0] < 500


def test_two_requests_in_one_are_two_requests_or_none(web_stack: Stack, shop: Shop) -> None:
    """A smuggled second request must not ride on the first one's credential."""
    inner = b"GET /api/payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    head = [("Authorization", f"Bearer {shop.secret_key}"), JSON, ("Connection", "keep-alive")]
    outer = build_request("/api/client-tokens", head, b"{}").replace(b"Connection: close\r\n", b"", 1)
    _, received = send(web_stack.web, outer + inner)
    assert received.count(b"HTTP/1.1 ") <= 2
    assert b'"data"' not in received


def test_bodies_beyond_the_bound_are_413(web_stack: Stack, shop: Shop) -> None:
    url, headers = f"{web_stack.web}/api/payments/deposit", shop.headers("big")
    for size in (API_BODY_BYTES_MAX + 1, 3 * 1024 * 1024):
        body = b'{"metadata": "' + b"x" * size + b'"}'
        head = [*headers.items(), JSON]
        assert send(web_stack.web, build_request("/api/payments/deposit", head, body))[0] == 413
        chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        chunked = build_request("/api/payments/deposit", [*head, ("Transfer-Encoding", "chunked")], chunk)
        assert send(web_stack.web, chunked)[0] == 413
    assert requests.post(url, data=b"{}", headers=headers | {"Content-Type": "text/xml"}, timeout=20).status_code == 415


def drip(web_stack: Stack, start: bytes, piece: bytes, seconds: float) -> tuple[int, float]:
    """Send `start` and then `piece` again and again until the server ends it; return the status and the seconds."""
    started = time.monotonic()
    with contextlib.closing(connect(web_stack.web, 1.0)) as connection:
        connection.sendall(start)
        while time.monotonic() - started < seconds:
            try:
                connection.sendall(piece)
                connection.settimeout(0.2)
                if received := connection.recv(65_536):
                    return int(received.split(b" ", 2)[1]), time.monotonic() - started
                return 0, time.monotonic() - started
            except TimeoutError:
                continue
            except ConnectionError:
                return 0, time.monotonic() - started
    raise AssertionError(f"still connected after {seconds} s")


@pytest.mark.serial
def test_slow_clients_are_shown_out_and_others_are_served_meanwhile(web_stack: Stack, shop: Shop) -> None:
    authorization = f"Authorization: Bearer {shop.secret_key}\r\n"
    post = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + authorization
    slow = {
        "headers": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"a"),
        "body": ((post.format("/api/client-tokens") + "Content-Length: 5000\r\n\r\n").encode(), b"x"),
        "webhook": ((post.format("/webhooks/payment-success") + "Content-Length: 5000\r\n\r\n").encode(), b"x"),
        "chunks": (
            (post.format("/webhooks/payment-success") + "Transfer-Encoding: chunked\r\n\r\n").encode(),
            b"1\r\nx\r\n",
        ),
    }
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        waiting = {
            kind: [pool.submit(drip, web_stack, *parts, BODY_SECONDS + 12) for _ in range(12)]
            for kind, parts in slow.items()
        }
        while not all(future.done() for futures in waiting.values() for future in futures):
            started = time.monotonic()
            assert requests.get(f"{web_stack.web}/health/ready", timeout=20).status_code == 200
            assert time.monotonic() - started < 3.0
            time.sleep(0.5)
    ended = {kind: [future.result() for future in futures] for kind, futures in waiting.items()}
    assert {status for status, _ in ended["headers"]} <= {0, 408}
    for kind in ("body", "webhook", "chunks"):
        assert {status for status, _ in ended[kind]} == {408}, ended[kind]
        assert all(BODY_SECONDS - 1 < seconds < BODY_SECONDS + 5 for _, seconds in ended[kind]), ended[kind]


def test_a_client_that_goes_away_harms_nobody(web_stack: Stack, shop: Shop) -> None:
    head = [("Authorization", f"Bearer {shop.secret_key}"), JSON, ("Content-Length", "500")]
    for target in ("/api/client-tokens", "/webhooks/payment-success"):
        with contextlib.closing(connect(web_stack.web)) as connection:
            connection.sendall(build_request(target, head, b"{"))
    assert requests.get(f"{web_stack.web}/health/ready", timeout=20).status_code == 200


def test_whatever_was_sent_the_log_is_one_json_object_per_line(web_stack: Stack) -> None:
    no_server_error(web_stack, b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n")
    no_server_error(web_stack, b"GET /%0a%0d{forged:1} HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\n")
    lines = (web_stack.databases.folder / "web.log").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert events
    assert [event for event in events if event["event"] == "unexpected"] == []


def test_every_answer_carries_the_security_headers(web_stack: Stack, shop: Shop) -> None:
    paths = ("/api/payments", "/nowhere", "/health/live", "/openapi.json", "/docs", "/docs/reference")
    for path in (*paths, "/webhooks/payment-success"):
        headers = requests.get(web_stack.web + path, headers=shop.headers(), timeout=20).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "gunicorn" not in headers.get("Server", "").lower() or "/" not in headers["Server"]
    assert (
        requests.get(f"{web_stack.web}/api/payments", headers=shop.headers(), timeout=20).headers["Cache-Control"]
        == "no-store"
    )
