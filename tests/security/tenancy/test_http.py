"""Every route against every stranger: another tenant's keys and clients, and another user of the same tenant.

The cases are checked against the table of routes: a route without one fails.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from app.web.operations import OPERATIONS, Operation
from app.web.roles import PUBLIC
from testbed.servers import Servers
from testbed.stack import Stack
from tests.security.tenancy.attempts import Attempt
from tests.security.tenancy.endpoint_attempts import ENDPOINT_CASES
from tests.security.tenancy.victims import Victim, make_victim


@pytest.fixture(scope="module", params=["both walls", "the query alone"])
def web_stack(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Stack]:
    """Provide a web process; once without row-level security, which shows queries that forget the tenant."""
    with servers.open_databases() as opened, Stack.open(opened) as stack:
        if request.param == "the query alone":
            for table in opened.rows("select oid::regclass::text as name from pg_class where relrowsecurity"):
                opened.rows(f"alter table {table['name']} disable row level security")
        stack.start("web")
        yield stack


@pytest.fixture(scope="module")
def victim(web_stack: Stack) -> Victim:
    """Provide a tenant with all kinds of rows that a request can name."""
    return make_victim(web_stack)


def payment_attempts(rule: str) -> Callable[[Victim], Iterator[Attempt]]:
    """Attempt on the victim's payments through a route with an id in its path."""

    def attempts(victim: Victim) -> Iterator[Attempt]:
        for payment in (victim.paid, victim.open):
            for spelt in (str(payment.id), payment.id.hex, str(payment.id).upper(), "{" + str(payment.id) + "}"):
                yield Attempt(rule.replace("{id}", spelt), rule.replace("{id}", str(uuid.uuid4())))

    return attempts


def refund_attempts(victim: Victim) -> Iterator[Attempt]:
    yield Attempt(f"/api/refunds/{victim.refund_id}", f"/api/refunds/{uuid.uuid4()}")


def debit_attempts(rule: str) -> Callable[[Victim], Iterator[Attempt]]:
    def attempts(victim: Victim) -> Iterator[Attempt]:
        yield Attempt(rule.replace("{id}", str(victim.debit_id)), rule.replace("{id}", str(uuid.uuid4())))

    return attempts


def list_debits(victim: Victim) -> Iterator[Attempt]:
    for query in ("", f"?user_id={victim.user_id}", f"?reference={victim.canary}"):
        yield Attempt("/api/debits", "/api/debits", query=query)


def spend(victim: Victim) -> Iterator[Attempt]:
    body = {"amount": "1.00", "currency": "USD", "reference": "stolen"}
    yield Attempt(f"/api/wallets/{victim.user_id}/debits", "/api/wallets/nobody.at.all/debits", body, body)


def user_attempts(rule: str) -> Callable[[Victim], Iterator[Attempt]]:
    def attempts(victim: Victim) -> Iterator[Attempt]:
        yield Attempt(rule.replace("{user_id}", victim.user_id), rule.replace("{user_id}", "nobody.at.all"))

    return attempts


def letter_attempts(rule: str) -> Callable[[Victim], Iterator[Attempt]]:
    def attempts(victim: Victim) -> Iterator[Attempt]:
        yield Attempt(rule.replace("{id}", str(victim.letter_id)), rule.replace("{id}", str(uuid.uuid4())))

    return attempts


def filtered_letters(rule: str) -> Callable[[Victim], Iterator[Attempt]]:
    def attempts(victim: Victim) -> Iterator[Attempt]:
        for query in ("", f"?payment_id={victim.paid.id}", f"?provider_id={victim.shop.provider_id}"):
            yield Attempt(rule, rule, query=query)

    return attempts


def list_payments(victim: Victim) -> Iterator[Attempt]:
    path = "/api/payments"
    yield Attempt(path, path, query=f"?user_id={victim.user_id}")
    for status in ("completed", "pending"):
        yield Attempt(path, path, query=f"?status={status}&limit=100")


def read_events(victim: Victim) -> Iterator[Attempt]:
    for query in ("", "?after=0&limit=100", "?cursor=0"):
        yield Attempt("/api/events", "/api/events", query=query)


def make_deposit(victim: Victim) -> Iterator[Attempt]:
    path, nowhere = "/api/payments/deposit", str(uuid.uuid4())
    # A key must name a user; a client token has its own, and refuses any other before the provider is read.
    for user in ({"user_id": "mallory"}, {}):
        body = {**user, "amount": "1.00", "currency": "USD"}
        yield Attempt(
            path, path, {**body, "provider_id": str(victim.shop.provider_id)}, {**body, "provider_id": nowhere}
        )


def read_keys(victim: Victim) -> Iterator[Attempt]:
    yield Attempt("/api/keys", "/api/keys")


def read_providers(victim: Victim) -> Iterator[Attempt]:
    yield Attempt("/api/providers", "/api/providers")


def nothing_foreign(_: Victim) -> Iterator[Attempt]:
    """Yield nothing: the route takes no name of another tenant's row."""
    return iter(())


# The same user id is another user at another tenant: the token that is made is worth the attacker's own rows.
CASES: dict[tuple[str, str], Callable[[Victim], Iterator[Attempt]]] = {
    ("POST", "/api/payments/deposit"): make_deposit,
    ("GET", "/api/payments"): list_payments,
    ("GET", "/api/payments/{id}"): payment_attempts("/api/payments/{id}"),
    ("POST", "/api/payments/{id}/cancel"): payment_attempts("/api/payments/{id}/cancel"),
    ("GET", "/api/payments/{id}/timeline"): payment_attempts("/api/payments/{id}/timeline"),
    ("POST", "/api/payments/{id}/refunds"): payment_attempts("/api/payments/{id}/refunds"),
    ("GET", "/api/payments/{id}/refunds"): payment_attempts("/api/payments/{id}/refunds"),
    ("GET", "/api/refunds/{id}"): refund_attempts,
    ("POST", "/api/wallets/{user_id}/debits"): spend,
    ("GET", "/api/debits"): list_debits,
    ("GET", "/api/debits/{id}"): debit_attempts("/api/debits/{id}"),
    ("POST", "/api/debits/{id}/reverse"): debit_attempts("/api/debits/{id}/reverse"),
    ("GET", "/api/wallets/{user_id}"): user_attempts("/api/wallets/{user_id}"),
    ("GET", "/api/wallets/{user_id}/transactions"): user_attempts("/api/wallets/{user_id}/transactions"),
    ("GET", "/api/events"): read_events,
    **ENDPOINT_CASES,
    ("GET", "/api/dead-letters"): filtered_letters("/api/dead-letters"),
    ("POST", "/api/dead-letters/redrive"): filtered_letters("/api/dead-letters/redrive"),
    ("GET", "/api/dead-letters/{id}"): letter_attempts("/api/dead-letters/{id}"),
    ("POST", "/api/dead-letters/{id}/redrive"): letter_attempts("/api/dead-letters/{id}/redrive"),
    ("POST", "/api/dead-letters/{id}/accept"): letter_attempts("/api/dead-letters/{id}/accept"),
    ("POST", "/api/dead-letters/{id}/reject"): letter_attempts("/api/dead-letters/{id}/reject"),
    ("POST", "/api/client-tokens"): nothing_foreign,
    ("POST", "/api/tickets"): nothing_foreign,
    ("GET", "/api/keys"): read_keys,
    ("GET", "/api/providers"): read_providers,
}
GUARDED = [operation for operation in OPERATIONS if operation.roles is not PUBLIC]


def test_every_guarded_route_has_a_case() -> None:
    assert {(operation.method, operation.rule) for operation in GUARDED} == CASES.keys()


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.rule}"


def ask(
    web_stack: Stack, method: str, path: str, credential: str, body: dict[str, Any] | None
) -> tuple[int, str, dict[str, str]]:
    headers = {"Authorization": f"Bearer {credential}", "Idempotency-Key": secrets.token_hex(16)}
    # Problem documents repeat it; one made for each request would be a difference.
    headers["X-Request-Id"] = "stranger"
    answer = requests.request(method, web_stack.web + path, headers=headers, json=body, timeout=20)
    return answer.status_code, answer.text, dict(answer.headers)


@pytest.fixture(scope="module")
def strangers(web_stack: Stack, victim: Victim) -> dict[str, tuple[frozenset[str], str]]:
    """By name: a stranger's roles as the table of routes names them, and a credential."""
    attacker = web_stack.make_shop()
    attacker.deposit(user_id="mallory")
    found = {role: (frozenset({role}), attacker.key(role)) for role in ("admin", "operator", "shop", "read")}
    found["client"] = (frozenset({"client"}), attacker.token("mallory"))
    # Of the victim's own tenant, and of a user with the victim's name elsewhere.
    found["fellow user"] = (frozenset({"client"}), victim.shop.token("bob"))
    found["namesake"] = (frozenset({"client"}), attacker.token(victim.user_id))
    return found


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
def test_a_stranger_learns_and_changes_nothing(
    web_stack: Stack, victim: Victim, strangers: dict[str, tuple[frozenset[str], str]], operation: Operation
) -> None:
    before = snapshot(web_stack, victim)
    for who, (roles, credential) in strangers.items():
        # A fellow user may use the tenant's provider: that is no stranger's.
        if not roles & operation.roles or (who == "fellow user" and operation.rule == "/api/payments/deposit"):
            continue
        for attempt in CASES[operation.method, operation.rule](victim):
            found = ask(web_stack, operation.method, attempt.path + attempt.query, credential, attempt.body)
            twin = ask(web_stack, operation.method, attempt.twin, credential, attempt.twin_body or attempt.body)
            assert found[0] < 500, (who, attempt, found)
            assert not [text for text in victim.secrets if text in found[1] + json.dumps(found[2])], (who, attempt)
            if who == "namesake" and "{user_id}" in operation.rule:
                # Its own wallets, which nobody has put anything into.
                assert found[1].strip() in EMPTY
            elif "{" in operation.rule or attempt.twin_body:
                # Exactly as for what does not exist: the same status, the same words.
                assert (found[0], found[1]) == (twin[0], twin[1]), (who, attempt)
                assert found[0] in (403, 404, 409, 422) or found[1].strip() in EMPTY, (who, attempt, found)
    assert snapshot(web_stack, victim) == before


EMPTY = ('{"data":[]}', '{"data":[],"next_cursor":null}')


def snapshot(web_stack: Stack, victim: Victim) -> list[Any]:
    """All rows of the victim that a request could change."""
    tables = ("payment_transactions", "payment_work", "wallets", "wallet_temp_logs", "wallet_transactions")
    tables += ("audit_logs", "notifications", "dead_letters", "debits")
    tables += ("webhook_endpoints", "endpoint_secrets", "endpoint_deliveries", "delivery_work")
    return [
        web_stack.databases.value(
            f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t where tenant_id = :id",
            id=victim.shop.tenant_id,
        )
        for table in tables
    ]


def test_the_victim_sees_what_the_stranger_does_not(web_stack: Stack, victim: Victim) -> None:
    for path in (f"/api/payments/{victim.paid.id}", f"/api/wallets/{victim.user_id}", "/api/events", "/api/payments"):
        for credential in (victim.shop.secret_key, victim.shop.token(victim.user_id)):
            status, text, _ = ask(web_stack, "GET", path, credential, None)
            assert status == 200
            assert victim.canary in text or '"25.00"' in text, path


def test_a_cursor_of_anothers_list_leads_nowhere(web_stack: Stack, victim: Victim) -> None:
    page = ask(web_stack, "GET", "/api/payments?limit=1", victim.shop.secret_key, None)
    cursor = json.loads(page[1])["next_cursor"]
    assert cursor
    attacker = web_stack.make_shop()
    attacker.deposit(user_id="mallory")
    status, text, _ = ask(web_stack, "GET", f"/api/payments?cursor={cursor}&limit=100", attacker.secret_key, None)
    assert status == 200
    assert all(payment["user_id"] == "mallory" for payment in json.loads(text)["data"])


def test_the_same_idempotency_key_is_another_key_at_another_tenant(web_stack: Stack, victim: Victim) -> None:
    attacker = web_stack.make_shop()
    headers = {"Authorization": f"Bearer {attacker.secret_key}", "Idempotency-Key": victim.canary}
    body = {"user_id": victim.user_id, "amount": "25.00", "currency": "USD"}
    answer = requests.post(f"{web_stack.web}/api/payments/deposit", headers=headers, json=body, timeout=20)
    assert answer.status_code == 202
    assert answer.json()["id"] not in (str(victim.paid.id), str(victim.open.id))
    assert "Idempotent-Replayed" not in answer.headers


def test_a_client_acts_for_its_own_user_only(web_stack: Stack, victim: Victim) -> None:
    token = victim.shop.token("bob")
    body = {"user_id": victim.user_id, "amount": "25.00", "currency": "USD"}
    assert ask(web_stack, "POST", "/api/payments/deposit", token, body)[0] == 403
    del body["user_id"]
    made = ask(web_stack, "POST", "/api/payments/deposit", token, body)
    assert (made[0], json.loads(made[1])["user_id"]) == (202, "bob")


def test_no_log_names_the_victim_to_strangers_eyes(web_stack: Stack, victim: Victim) -> None:
    log = (web_stack.databases.folder / "web.log").read_text(encoding="utf-8")
    assert victim.canary not in log
    assert not re.search(r"Traceback|unexpected", log), log[-2000:]
