"""Who may call what: credentials, roles, origins, and what others own (CONTRACT section 2)."""

from __future__ import annotations

import time
import uuid

import pytest
import requests

from app.services.tenants import tenants
from testbed.shop import ACTOR, ORIGIN, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api, problem_of, without_request_id

ID = str(uuid.UUID(int=1))
GUARDED = [
    ("POST", "/api/payments/deposit"),
    ("GET", "/api/payments"),
    ("GET", f"/api/payments/{ID}"),
    ("POST", f"/api/payments/{ID}/cancel"),
    ("GET", f"/api/payments/{ID}/timeline"),
    ("GET", "/api/wallets/ann"),
    ("GET", "/api/wallets/ann/transactions"),
    ("GET", "/api/events"),
    ("POST", "/api/client-tokens"),
    ("POST", "/api/tickets"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_credential_nothing_is_disclosed(front: Stack, method: str, path: str) -> None:
    anyone = Api(front.web, None)
    # Checked first: neither media type nor body matters.
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}):
        answer = anyone.send(method, path, headers, data=b"{")
        problem_of(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_wrong_credentials_are_401_and_slow_nobody_else_down(front: Stack, shop: Shop, api: Api) -> None:
    good = shop.secret_key
    wrong = [
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good + "x",
        good.replace("sk_", "ct_", 1),
        "sk_",
        "nonsense",
    ]
    wrong += [good.upper(), "sk_" + "a" * 16 + "." + "b" * 43]
    for credential in wrong:
        problem_of(Api(front.web, credential).get("/api/payments"), 401)
    answers = [api.get("/api/payments") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    # The fastest one: a busy machine delays some.
    assert min(answer.elapsed.total_seconds() for answer in answers) < 0.5


@pytest.mark.serial
def test_a_revoked_key_ends_and_its_tokens_with_it(front: Stack, shop: Shop) -> None:
    key_id, key = tenants.create_key(front.runtime, shop.tenant_id, "admin", "test", ACTOR)
    backend = Api(front.web, key)
    token = backend.post("/api/client-tokens", {"user_id": "ann"}).json()["token"]
    assert Api(front.web, token).get("/api/payments").status_code == 200
    assert tenants.revoke_key(front.runtime, key_id, ACTOR)
    revoked = time.monotonic()
    for caller in (backend, Api(front.web, token)):
        refused = wait_for_refusal(caller)
        problem_of(refused, 401)
        # Each wrong key before this one made its sender wait longer.
        assert time.monotonic() - revoked - refused.elapsed.total_seconds() < 2.5


def wait_for_refusal(caller: Api) -> requests.Response:
    """Return the first answer that is not good: an authenticated caller is cached for a second at most."""
    answers: list[requests.Response] = []

    def is_refused() -> bool:
        answers.append(caller.get("/api/payments"))
        return answers[-1].status_code != 200

    wait_until(is_refused, "the caller is refused")
    return answers[-1]


def test_an_expired_token_is_401(front: Stack, shop: Shop) -> None:
    client, unused = Api(front.web, shop.token("ann")), Api(front.web, shop.token("ann"))
    assert client.get("/api/events").status_code == 200
    front.databases.rows("update client_tokens set expires_at = now() where tenant_id = :id", id=shop.tenant_id)
    problem_of(unused.get("/api/events"), 401)
    problem_of(wait_for_refusal(client), 401)


def test_client_tokens(api: Api, front: Stack) -> None:
    answer = api.post("/api/client-tokens", {"user_id": "ann"})
    assert answer.status_code == 201
    assert answer.json().keys() == {"token", "expires_at", "sockets_url"}
    assert answer.json()["sockets_url"] == front.sockets
    token = answer.json()["token"]
    assert token.startswith("ct_")
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-")
    ticket = Api(front.web, token).post("/api/tickets")
    assert ticket.status_code == 201
    assert ticket.json().keys() == {"ticket", "expires_at", "sockets_url"}
    for body in ({}, {"user_id": "a b"}, {"user_id": 1}, {"user_id": "ann", "role": "admin"}):
        problem_of(api.post("/api/client-tokens", body), 422)


def test_each_role_may_do_its_part(front: Stack, shop: Shop, api: Api) -> None:
    payment = api.deposit().json()["id"]
    by_role = {role: Api(front.web, shop.key(role)) for role in ("operator", "read")}
    by_role["client"] = Api(front.web, shop.token("ann"))
    for role, caller in by_role.items():
        for path in (f"/api/payments/{payment}", f"/api/payments/{payment}/timeline", "/api/wallets/ann"):
            assert caller.get(path).status_code == 200, role
        assert caller.deposit().status_code == (403 if role == "read" else 202)
        token = caller.post("/api/client-tokens", {"user_id": "ann"})
        assert token.status_code == (201 if role == "operator" else 403)
        assert caller.post("/api/tickets").status_code == (201 if role == "client" else 403)
    problem_of(by_role["read"].post(f"/api/payments/{payment}/cancel"), 403)
    problem_of(api.post("/api/tickets"), 403)
    assert by_role["client"].post(f"/api/payments/{payment}/cancel").status_code == 200


def test_objects_of_others_answer_as_if_they_did_not_exist(front: Stack, shop: Shop, api: Api) -> None:
    payment = api.deposit(user_id="ann").json()["id"]
    strangers = [Api(front.web, front.make_shop().secret_key), Api(front.web, shop.token("bob"))]
    for stranger in strangers:
        for method, path in (("GET", "/{}"), ("GET", "/{}/timeline"), ("POST", "/{}/cancel")):
            theirs, nothing = (
                stranger.send(method, "/api/payments" + path.format(which)) for which in (payment, uuid.uuid4())
            )
            assert problem_of(theirs, 404)["code"] == problem_of(nothing, 404)["code"]
            assert without_request_id(theirs) == without_request_id(nothing)
        assert stranger.get("/api/payments").json()["data"] == []
        assert stranger.get("/api/events").json()["data"] == []
    assert strangers[0].get("/api/wallets/ann").json() == {"data": []}
    problem_of(strangers[1].get("/api/wallets/ann"), 404)
    problem_of(strangers[1].get("/api/wallets/ann/transactions"), 404)
    problem_of(strangers[1].deposit(user_id="ann"), 403)
    assert api.read(payment)["status"] == "pending"


def test_a_tenants_rate_limit_is_its_own(front: Stack, api: Api) -> None:
    limited = Api(front.web, front.make_shop(requests_per_second=3).secret_key)
    answers = [limited.get("/api/payments") for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.status_code for answer in answers} == {200, 429}
    problem_of(refused[0], 429)
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert {api.get("/api/payments").status_code for _ in range(12)} == {200}


def test_a_tenant_at_its_limit_takes_nothing_from_another_that_has_one(front: Stack) -> None:
    busy, quiet = (Api(front.web, front.make_shop(requests_per_second=3).secret_key) for _ in range(2))
    for _ in range(3):
        # As soon as the one is refused the other asks: a count of both together would refuse it too.
        wait_until(lambda: busy.get("/api/payments").status_code == 429, "the busy tenant is refused")
        assert quiet.get("/api/payments").status_code == 200


def preflight(front: Stack, origin: str, path: str = "/api/payments/deposit") -> dict[str, str] | int:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = Api(front.web, None).send("OPTIONS", path, headers)
    return dict(answer.headers) if answer.status_code == 204 else answer.status_code


def test_preflights_are_answered_for_known_origins(front: Stack, shop: Shop) -> None:
    for origin in (ORIGIN, front.web, ORIGIN.upper(), front.web.upper()):
        headers = preflight(front, origin)
        assert isinstance(headers, dict)
        assert headers["Access-Control-Allow-Origin"] == origin
        assert "POST" in headers["Access-Control-Allow-Methods"]
        allowed = headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "idempotency-key", "prefer"))
        assert "Origin" in headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in headers
    for origin in ("https://evil.example", "null", ORIGIN + ".evil.example", "http://shop.example"):
        assert preflight(front, origin) == 403


def test_the_real_request_is_checked_against_its_own_tenant(front: Stack, shop: Shop) -> None:
    other = front.make_shop(allowed_origins=("https://other.example",))
    token, others = Api(front.web, shop.token("ann")), Api(front.web, other.token("ann"))
    allowed = token.deposit(headers={"Origin": ORIGIN})
    assert allowed.status_code == 202
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    exposed = allowed.headers["Access-Control-Expose-Headers"]
    assert all(name in exposed for name in ("Location", "Idempotent-Replayed", "Retry-After"))
    for origin in (front.web, ORIGIN.upper(), front.web.upper()):
        assert token.deposit(headers={"Origin": origin}).status_code == 202
    refused = others.deposit(headers={"Origin": ORIGIN})
    problem_of(refused, 403)
    assert "Access-Control-Allow-Origin" not in refused.headers
    count = "select count(*) from payment_transactions where tenant_id = :id"
    assert front.databases.value(count, id=other.tenant_id) == 0


def test_a_browser_can_read_why_it_was_refused(front: Stack, shop: Shop) -> None:
    answer = Api(front.web, shop.token("ann")).deposit(amount="x", headers={"Origin": ORIGIN})
    problem_of(answer, 422)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_browser_can_read_that_its_token_has_ended(front: Stack, shop: Shop) -> None:
    ended = Api(front.web, "ct_" + "A" * 16 + "." + "B" * 43)
    answer = ended.get("/api/payments", {"Origin": ORIGIN})
    problem_of(answer, 401)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    stranger = ended.get("/api/payments", {"Origin": "https://evil.example"})
    problem_of(stranger, 401)
    assert "Access-Control-Allow-Origin" not in stranger.headers
