"""Keys and tokens: what each role may, how soon one that was revoked is dead, and what guessing costs."""

from __future__ import annotations

import secrets
import statistics
import threading
import time

import pytest
import requests

from app.services.access import callers
from app.services.tenants import tenants
from app.web.gate import SLOW_SECONDS_STEP, name_guesser
from app.web.operations import OPERATIONS, Operation
from app.web.roles import PUBLIC
from models.tables.access import ROLES
from testbed.shop import ACTOR, ORIGIN, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.repository import ROOT

ALL = {"admin", "operator", "shop", "read", "client"}
DEPOSIT = {"admin", "operator", "shop", "client"}
DECIDE = {"admin", "operator"}
# Written down a second time on purpose: a role that slips into the table of routes shows here.
EXPECTED: dict[tuple[str, str], set[str]] = {
    ("POST", "/api/payments/deposit"): DEPOSIT,
    ("GET", "/api/payments"): ALL,
    ("GET", "/api/payments/{id}"): ALL,
    ("POST", "/api/payments/{id}/cancel"): DEPOSIT,
    ("GET", "/api/payments/{id}/timeline"): ALL,
    ("POST", "/api/payments/{id}/refunds"): {"admin", "operator", "shop"},
    ("GET", "/api/payments/{id}/refunds"): ALL - {"client"},
    ("GET", "/api/refunds/{id}"): ALL - {"client"},
    ("POST", "/api/wallets/{user_id}/debits"): {"admin", "shop"},
    ("GET", "/api/debits"): ALL - {"client"},
    ("GET", "/api/debits/{id}"): ALL - {"client"},
    ("POST", "/api/debits/{id}/reverse"): {"admin", "shop"},
    ("GET", "/api/providers"): ALL - {"client"},
    ("GET", "/api/wallets/{user_id}"): ALL,
    ("GET", "/api/wallets/{user_id}/transactions"): ALL,
    ("GET", "/api/events"): ALL,
    ("POST", "/api/webhook-endpoints"): {"admin"},
    ("GET", "/api/webhook-endpoints"): ALL - {"client"},
    ("GET", "/api/webhook-endpoints/{id}"): ALL - {"client"},
    ("PATCH", "/api/webhook-endpoints/{id}"): {"admin"},
    ("DELETE", "/api/webhook-endpoints/{id}"): {"admin"},
    ("POST", "/api/webhook-endpoints/{id}/rotate-secret"): {"admin"},
    ("POST", "/api/webhook-endpoints/{id}/test"): {"admin"},
    ("GET", "/api/webhook-endpoints/{id}/deliveries"): ALL - {"client"},
    ("POST", "/api/webhook-endpoints/{id}/redeliver"): DECIDE,
    ("GET", "/api/webhook-deliveries/{id}"): ALL - {"client"},
    ("POST", "/api/webhook-deliveries/{id}/redeliver"): DECIDE,
    ("POST", "/api/client-tokens"): {"admin", "operator", "shop"},
    ("GET", "/api/keys"): {"admin"},
    ("POST", "/api/tickets"): {"client"},
    ("GET", "/api/dead-letters"): DECIDE,
    ("GET", "/api/dead-letters/{id}"): DECIDE,
    ("POST", "/api/dead-letters/redrive"): DECIDE,
    ("POST", "/api/dead-letters/{id}/redrive"): DECIDE,
    ("POST", "/api/dead-letters/{id}/accept"): DECIDE,
    ("POST", "/api/dead-letters/{id}/reject"): DECIDE,
    ("POST", "/webhooks/payment-success"): set(),
    ("POST", "/webhooks/payment-failed"): set(),
    ("POST", "/webhooks/payment-callback"): set(),
    ("POST", "/webhooks/{provider_id}"): set(),
    ("GET", "/health/live"): set(),
    ("GET", "/health/ready"): set(),
    ("GET", "/health/work"): set(),
    ("GET", "/metrics"): set(),
    ("GET", "/openapi.json"): set(),
}


def test_the_table_of_routes_gives_the_roles_that_are_meant() -> None:
    assert {(operation.method, operation.rule): set(operation.roles) for operation in OPERATIONS} == EXPECTED


def test_the_documents_show_the_same_roles() -> None:
    text = (ROOT / "docs/SECURITY.md").read_text(encoding="utf-8")
    table = text.split("## Who may call what")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    roles = ["client" if name == "client token" else name for name in lines[0][1:]]
    shown = {
        tuple(cells[0].strip("`").split(" ")): {
            role for role, cell in zip(roles, cells[1:], strict=True) if cell == "yes"
        }
        for cells in lines[2:]
    }
    assert shown == {call: allowed for call, allowed in EXPECTED.items() if allowed}


def request(web_stack: Stack, operation: Operation, credential: str | None) -> int:
    path = operation.rule.replace("{id}", "00000000-0000-7000-8000-000000000000")
    path = path.replace("{user_id}", "ann").replace("{provider_id}", "00000000-0000-7000-8000-000000000000")
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    body = {} if operation.method == "POST" else None
    return requests.request(operation.method, web_stack.web + path, headers=headers, json=body, timeout=20).status_code


@pytest.mark.parametrize("operation", [item for item in OPERATIONS if item.roles is not PUBLIC], ids=lambda o: o.rule)
def test_each_role_may_what_it_may_and_nothing_else(web_stack: Stack, shop: Shop, operation: Operation) -> None:
    held = {role: shop.key(role) for role in ROLES} | {"client": shop.token("ann")}
    assert request(web_stack, operation, None) == 401
    for role, credential in held.items():
        status = request(web_stack, operation, credential)
        is_let_in = role in EXPECTED[operation.method, operation.rule]
        assert (status not in (401, 403)) == is_let_in, (role, status)
        assert status == 403 or is_let_in


def is_good(web_stack: Stack, credential: str) -> bool:
    headers = {"Authorization": f"Bearer {credential}"}
    return requests.get(f"{web_stack.web}/api/payments", headers=headers, timeout=20).status_code == 200


@pytest.mark.serial
def test_a_revoked_key_is_dead_within_a_second_and_its_tokens_with_it(web_stack: Stack, shop: Shop) -> None:
    token = shop.token("ann")
    other = shop.key("admin")
    assert is_good(web_stack, shop.secret_key)
    assert is_good(web_stack, token)
    assert tenants.revoke_key(web_stack.runtime, shop.key_id, ACTOR)
    revoked = time.monotonic()
    wait_until(lambda: not is_good(web_stack, shop.secret_key) and not is_good(web_stack, token), "both are dead")
    # The last request itself is delayed, by a second at most for each of the two.
    assert time.monotonic() - revoked < 6.0
    assert is_good(web_stack, other)


@pytest.mark.serial
def test_an_expired_token_is_dead(web_stack: Stack, shop: Shop) -> None:
    token = shop.token("ann")
    assert is_good(web_stack, token)
    web_stack.databases.rows("update client_tokens set expires_at = now() where tenant_id = :id", id=shop.tenant_id)
    ended = time.monotonic()
    wait_until(lambda: not is_good(web_stack, token), "it is dead")
    # The last request itself is delayed, by a second at most.
    assert time.monotonic() - ended < 5.0


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "bearer{key}",
        "Bearer {key} {key}",
        "Bearer {key},Bearer {key}",
        "Bearer {key}x",
        "Bearer x{key}",
        "Bearer sk_",
        "Bearer sk_.",
        f"Bearer ct_{'a' * 16}.{'b' * 43}",
        "Bearer {public}",
        "Bearer {public}.",
        "Bearer \u00e9",
        f"Bearer {'a' * 5000}",
        "Bearer {key}%00",
    ],
)
def test_what_is_no_good_credential_is_401(web_stack: Stack, shop: Shop, header: str) -> None:
    key = shop.secret_key
    value = header.format(key=key, public=key.split(".")[0]).encode("latin-1")
    answer = requests.get(f"{web_stack.web}/api/payments", headers={"Authorization": value}, timeout=20)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_key_works_in_its_header_only(web_stack: Stack, shop: Shop) -> None:
    key = shop.secret_key
    for address in (f"/api/payments?access_token={key}", f"/api/payments?ticket={key}"):
        assert requests.get(web_stack.web + address, timeout=20).status_code == 401
    listing = f"{web_stack.web}/api/payments"
    assert requests.get(listing, cookies={"Authorization": f"Bearer {key}"}, timeout=20).status_code == 401
    assert requests.get(listing, headers={"X_Api_Key": key}, timeout=20).status_code == 401


def test_what_is_stored_lets_nobody_in(web_stack: Stack, shop: Shop) -> None:
    token = shop.token("ann")
    rows = web_stack.databases.rows("select k::text as row from api_keys k where tenant_id = :id", id=shop.tenant_id)
    rows += web_stack.databases.rows(
        "select c::text as row from client_tokens c where tenant_id = :id", id=shop.tenant_id
    )
    for credential in (shop.secret_key, token):
        secret = credential.split(".")[1]
        assert len(secret) == 43
        assert not any(secret in row["row"] for row in rows)
        assert any(credential.split("_", 1)[1].split(".")[0] in row["row"] for row in rows)
    # The public part and the stored hash together are no credential.
    digest = callers.parse_credential(shop.secret_key).secret_sha256.hex()  # type: ignore[union-attr]
    assert not is_good(web_stack, f"{shop.secret_key.split('.')[0]}.{digest[:43]}")


@pytest.mark.serial
def test_guessing_is_slowed_and_nobody_is_locked_out(web_stack: Stack, shop: Shop) -> None:
    stop = threading.Event()
    guesses: list[float] = []

    def guess() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                started = time.monotonic()
                wrong = f"{shop.secret_key.split('.')[0]}.{secrets.token_urlsafe(32)}"
                answer = session.get(
                    f"{web_stack.web}/api/payments", headers={"Authorization": f"Bearer {wrong}"}, timeout=20
                )
                assert answer.status_code == 401
                guesses.append(time.monotonic() - started)

    guessers = [threading.Thread(target=guess) for _ in range(3)]
    for thread in guessers:
        thread.start()
    try:
        wait_until(lambda: len(guesses) >= 12, "a dozen guesses", 40)
        # The right key, from the same address and for the same public part, passes meanwhile and is not slowed.
        times = []
        for _ in range(10):
            started = time.monotonic()
            assert is_good(web_stack, shop.secret_key)
            times.append(time.monotonic() - started)
    finally:
        stop.set()
        for thread in guessers:
            thread.join()
    assert statistics.median(guesses[-6:]) > 0.5
    assert statistics.median(times) < 0.4


def guess_from(behind_proxy: Stack, address: str) -> float:
    """Send a wrong key from `address`; return how long the answer took."""
    headers = {"Authorization": f"Bearer sk_{secrets.token_hex(8)}.{'x' * 43}", "X-Forwarded-For": address}
    started = time.monotonic()
    assert requests.get(f"{behind_proxy.web}/api/payments", headers=headers, timeout=20).status_code == 401
    return time.monotonic() - started


def test_a_network_of_v6_addresses_is_one_guesser(behind_proxy: Stack) -> None:
    prefix = f"2001:db8:{secrets.token_hex(2)}"
    times = [guess_from(behind_proxy, f"{prefix}:1:{secrets.token_hex(2)}::{number}") for number in range(1, 6)]
    assert times[-1] >= SLOW_SECONDS_STEP * len(times)
    # Neighbouring networks have not guessed yet; of three, at least one is not delayed by anything else.
    assert min(guess_from(behind_proxy, f"{prefix}:{number}::1") for number in (2, 3, 4)) < times[-1]


@pytest.mark.parametrize(
    ("address", "guesser"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_wrong_keys_are_counted_for_who_can_change_addresses(address: str, guesser: str) -> None:
    assert name_guesser(address) == guesser


def test_a_browser_of_a_strange_origin_is_refused(web_stack: Stack, shop: Shop) -> None:
    def status(origin: str) -> int:
        headers = {"Authorization": f"Bearer {shop.secret_key}", "Origin": origin}
        return requests.get(f"{web_stack.web}/api/payments", headers=headers, timeout=20).status_code

    assert status(ORIGIN) == 200
    assert status(web_stack.web) == 200
    strange = ["https://evil.example", "null", ORIGIN + ".evil.example", ORIGIN + ":444", "http://shop.example", "x"]
    assert [status(origin) for origin in strange] == [403] * len(strange)
