"""Every problem document has a code of the published table and the id of its request, whoever answers."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
import requests

from app.core.problem_codes import PROBLEM_CODES, code_of_status
from app.http.request_heads import make_request_id, read_request_id
from app.web.parsing import API_BODY_BYTES_MAX
from testbed.shop import Shop
from testbed.stack import Stack
from tests.security.raw_http import build_request, send
from tests.support.clients.api import Api, problem_of
from tests.support.engine import Engine
from tests.support.repository import ROOT

NOBODY = "00000000-0000-0000-0000-000000000001"


def whole_problem(raw: bytes) -> dict[str, Any]:
    """Return the problem document of an answer as bytes, which must be complete."""
    head, _, body = raw.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    assert headers["Content-Type"] == "application/problem+json", raw
    assert int(headers["Content-Length"]) == len(body)
    problem: dict[str, Any] = json.loads(body)
    assert problem["request_id"] == headers["X-Request-Id"]
    assert problem["status"] in PROBLEM_CODES[problem["code"]][0]
    assert problem.keys() == {"type", "title", "status", "detail", "code", "request_id"}
    return problem


def test_every_route_names_its_refusals(front: Stack, api: Api) -> None:
    spec = Api(front.web, None).get("/openapi.json").json()
    for path, methods in spec["paths"].items():
        if "servers" in methods:
            continue  # Of the sockets process, which has a test of its own.
        target = re.sub(r"{\w+}", NOBODY, path)
        missing = ({"get", "post", "put", "delete"} - methods.keys()).pop().upper()
        assert problem_of(api.send(missing, target), 405)["code"] == "method_not_allowed"
        for method, operation in methods.items():
            needs_credential = bool(operation["security"])
            if needs_credential:
                anyone = Api(front.web, None).send(method.upper(), target)
                assert problem_of(anyone, 401)["code"] == "unauthenticated"
            if "{id}" in path:
                key = {"Idempotency-Key": "a"}
                answer = api.send(method.upper(), target, key, json={} if "requestBody" in operation else None)
                assert answer.status_code in (404, 422), (method, path)
                problem_of(answer, answer.status_code)
            if "requestBody" in operation and needs_credential:
                needed = {"Idempotency-Key": "a", "Content-Type": "text/plain"}
                body = api.send(method.upper(), target, needed, data="x")
                # An id of the path that names nothing may be found out first.
                assert body.status_code in ((415, 404) if "{id}" in path else (415,)), (method, path)
                problem_of(body, body.status_code)


def test_each_kind_of_problem_has_its_own_word(front: Stack, api: Api, shop: Shop, engine: Engine) -> None:
    path, key = "/api/payments/deposit", {"Idempotency-Key": "k1"}
    json_type = {**key, "Content-Type": "application/json"}
    deposit = {"user_id": "ann", "amount": "5.00", "currency": "USD"}
    too_long = b'"' + b"a" * API_BODY_BYTES_MAX + b'"'
    payment = engine.start(shop)
    assert api.post(path, deposit, key).status_code in (201, 202)
    cancelled = f"/api/payments/{payment.id}/cancel"
    assert api.post(cancelled).status_code == 200
    found = {
        problem_of(answer, status)["code"]
        for answer, status in (
            (api.post(path, deposit | {"amount": "5.01"}, key), 422),
            (api.post(path, deposit | {"amount": 5}, key), 422),
            (api.post(path, deposit), 400),
            (api.send("POST", path, json_type, data=b"{"), 400),
            (api.send("POST", path, json_type, data=too_long), 413),
            (api.send("POST", path, key, data=b"x"), 415),
            (api.post(cancelled), 409),
            (api.get("/nowhere"), 404),
            (api.send("POST", f"/webhooks/{uuid.uuid4()}", json={}), 404),
            (api.send("POST", f"/webhooks/{shop.provider_id}", json={}), 400),
            (api.send("POST", "/webhooks/payment-success", json={}), 400),
            (api.send("GET", "/api/payments", {"Origin": "https://elsewhere.example"}), 403),
        )
    }
    assert found == {
        *("idempotency_key_reused", "fields_invalid", "header_invalid", "json_invalid", "body_too_large"),
        *("media_type_unsupported", "payment_ended", "not_found", "provider_unknown", "webhook_unverified"),
        *("webhook_without_provider", "origin_forbidden"),
    }


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400, "request_unreadable"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "request_unreadable"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", 400, "request_unreadable"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(300)) + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417, "expectation_failed"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "request_unreadable"),
    ],
)
def test_heads_that_cannot_be_served_get_one_too(front: Stack, head: bytes, status: int, code: str) -> None:
    answered, raw = send(front.web, head)
    problem = whole_problem(raw)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)


def test_the_sockets_process_names_its_refusals(live_stack: Stack) -> None:
    base = live_stack.sockets
    found = {
        path: problem_of(requests.request(method, f"{base}{path}", timeout=20), status)["code"]
        for method, path, status in (
            ("GET", "/api/stream", 401),
            ("GET", "/nowhere", 404),
            ("POST", "/health/live", 405),
            ("GET", "/ws", 426),
        )
    }
    assert list(found.values()) == ["unauthenticated", "not_found", "method_not_allowed", "upgrade_required"]
    assert whole_problem(send(base, b"GET / HTTP/9.9\r\n\r\n")[1])["code"] == "request_unreadable"


def test_the_callers_own_request_id_is_answered(front: Stack, api: Api) -> None:
    for path in ("/api/payments", "/nowhere", "/health/live", "/docs"):
        answer = api.send("GET", path, {"X-Request-Id": "trace-1.a_B"})
        assert answer.headers["X-Request-Id"] == "trace-1.a_B"
    for bad in ("", "a b", "a" * 129, "a/b", "é"):
        made = api.send("GET", "/nowhere", {"X-Request-Id": bad.encode().decode("latin-1")})
        assert re.fullmatch(r"[0-9a-f]{24}", problem_of(made, 404)["request_id"])
    twice = build_request("/health/live", [("X-Request-Id", "a"), ("X-Request-Id", "b")], method="GET")
    assert re.search(rb"X-Request-Id: [0-9a-f]{24}\r\n", send(front.web, twice)[1])
    assert len({make_request_id() for _ in range(1_000)}) == 1_000
    environ: dict[str, Any] = {}
    assert read_request_id(environ) == read_request_id(environ)


def test_the_table_is_published_and_complete(front: Stack) -> None:
    spec = Api(front.web, None).get("/openapi.json").json()
    assert spec["components"]["schemas"]["Problem"]["properties"]["code"]["x-extensible-enum"] == list(PROBLEM_CODES)
    page, document = Api(front.web, None).get("/docs").text, (ROOT / "docs" / "ERRORS.md").read_text()
    for code, (statuses, meaning) in PROBLEM_CODES.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert f"<code>{code}</code>" in page
        assert f"| `{code}` | {', '.join(map(str, statuses))} | {meaning} |" in document
    source = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    named = set(re.findall(r'code="([a-z_]+)"', source))
    assert "idempotency_key_reused" in named
    assert named <= PROBLEM_CODES.keys()
    assert code_of_status(418) == "request_refused"
    assert code_of_status(502) == "internal_error"
