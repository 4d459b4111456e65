"""Lists, wallets, entries, events and the timeline over HTTP (CONTRACT section 3)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from testbed.servers import Databases
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of, problem_of
from tests.support.engine import Engine


def read_all(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, **query, **cursor).json()
        assert page.keys() == {"data", "next_cursor"}
        rows += page["data"]
        if page["next_cursor"] is None:
            return rows
        assert len(page["data"]) == query.get("limit", 20)
        cursor = {"cursor": page["next_cursor"]}


def paid(engine: Engine, shop: Shop, **deposit: object) -> dict[str, Any]:
    """Return a completed payment."""
    payment = engine.start(shop, **deposit)
    shop.deliver(shop.body(payment))
    engine.settle()
    done = shop.payment(payment.id)
    assert done.status == "completed"
    return {"id": str(done.id)}


def test_pages_hold_every_payment_once_newest_first(api: Api) -> None:
    made = [api.deposit().json()["id"] for _ in range(7)]
    for limit in (1, 3, 7, 100):
        assert [row["id"] for row in read_all(api, "/api/payments", limit=limit)] == made[::-1]
    first = api.get("/api/payments", limit=3).json()
    api.deposit()
    # What is made meanwhile moves no page.
    second = api.get("/api/payments", limit=3, cursor=first["next_cursor"]).json()
    assert [row["id"] for row in second["data"]] == made[3:0:-1]


def test_filters(api: Api, shop: Shop) -> None:
    by_user = {user: api.deposit(user_id=user).json() for user in ("ann", "bob", "eve")}
    api.post(f"/api/payments/{by_user['eve']['id']}/cancel")
    ids = {user: payment["id"] for user, payment in by_user.items()}

    def found(**query: Any) -> set[str]:
        return {user for user in ids if ids[user] in {row["id"] for row in read_all(api, "/api/payments", **query)}}

    assert found(user_id="bob") == {"bob"}
    assert found(user_id="nobody") == set()
    assert found(status="cancelled") == {"eve"}
    assert found(status="pending") == {"ann", "bob"}
    middle = by_user["bob"]["created_at"]
    assert found(created_after=middle) == {"eve"}
    assert found(created_before=middle) == {"ann"}
    assert found(created_after=middle.replace("Z", "+00:00")) == {"eve"}
    assert found(status="pending", user_id="ann", created_before=middle) == {"ann"}
    # A client sees its own user only, whatever it asks for.
    client = Api(api.base, shop.token("ann"))
    assert [row["id"] for row in read_all(client, "/api/payments")] == [ids["ann"]]
    assert read_all(client, "/api/payments", user_id="bob") == []


@pytest.mark.parametrize("path", ["/api/payments", "/api/wallets/ann/transactions", "/api/events"])
def test_unusable_pages_name_their_parameter(api: Api, path: str) -> None:
    for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"limit": ""}, {"cursor": "x!"}, {"offset": 1}):
        assert fields_of(api.get(path, **query)) == query.keys()
    for cursor in ("", "AAAA", "MjAyNg", "x" * 5000, "9" * 30, "\x00", "é"):
        assert fields_of(api.get(path, cursor=cursor)) == {"cursor"}
    assert fields_of(api.get(path + "?limit=1&limit=2")) == {"limit"}


def test_a_parameter_that_a_route_does_not_take_is_named_before_the_object_is_searched(api: Api) -> None:
    for path in ("/api/payments/no-uuid", "/api/wallets/no user/transactions"):
        assert fields_of(api.get(path, unknown="x")) == {"unknown"}
    assert fields_of(api.post("/api/dead-letters/no-uuid/accept?unknown=x")) == {"unknown"}


def test_what_belongs_to_others_is_404_whatever_the_query_holds(api: Api, shop: Shop) -> None:
    client = Api(api.base, shop.token("ann"))
    for query in ({}, {"cursor": "x!"}, {"limit": "0"}):
        problem_of(client.get("/api/wallets/bob/transactions", **query), 404)
    assert fields_of(client.get("/api/wallets/ann/transactions", cursor="x!")) == {"cursor"}
    problem_of(api.get("/api/payments/no-uuid", wait="x"), 404)


def test_unusable_filters_name_their_parameter(api: Api) -> None:
    bad = [("status", "done"), ("user_id", "a b"), ("created_after", "yesterday"), ("created_before", "2026-01-31")]
    bad += [("created_after", "2026-13-01T00:00:00Z"), ("created_after", "2026-01-31T00:00:00")]
    bad += [("created_after", "0001-01-01T00:00:00+23:59"), ("status", "")]
    for name, value in bad:
        assert fields_of(api.get("/api/payments", **{name: value})) == {name}


def test_a_wallet_shows_its_balance_and_what_is_pending(api: Api, engine: Engine, shop: Shop) -> None:
    assert api.get("/api/wallets/ann").json() == {"data": []}
    open_one = api.deposit(amount="5.00").json()

    def wallets() -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = api.get("/api/wallets/ann").json()["data"]
        return data

    usd = {"currency": "USD", "balance": "0.00", "balance_minor": 0, "pending": "5.00", "pending_minor": 500}
    usd |= {"held": "0.00", "held_minor": 0, "available": "0.00", "available_minor": 0}
    assert wallets() == [usd | {"version": 0}]
    paid(engine, shop)
    paid(engine, shop, amount="700", currency="JPY")
    yen = {"currency": "JPY", "balance": "700", "balance_minor": 700, "pending": "0", "pending_minor": 0, "version": 1}
    yen |= {"held": "0", "held_minor": 0, "available": "700", "available_minor": 700}
    usd |= {"balance": "25.00", "balance_minor": 2500, "available": "25.00", "available_minor": 2500, "version": 1}
    assert wallets() == [yen, usd]
    api.post(f"/api/payments/{open_one['id']}/cancel")
    assert wallets()[1] == usd | {"pending": "0.00", "pending_minor": 0}


def test_entries_chain_from_balance_to_balance(api: Api, engine: Engine, shop: Shop) -> None:
    made = [paid(engine, shop, amount=amount) for amount in ("1.00", "2.50", "3.00")]
    paid(engine, shop, amount="9", currency="JPY")
    rows = read_all(api, "/api/wallets/ann/transactions", limit=2, currency="USD")
    assert [row["reference_id"] for row in rows] == [payment["id"] for payment in made[::-1]]
    assert [(row["balance_before"], row["amount"], row["balance_after"]) for row in rows] == [
        ("3.50", "3.00", "6.50"),
        ("1.00", "2.50", "3.50"),
        ("0.00", "1.00", "1.00"),
    ]
    first = rows[0]
    assert (first["amount_minor"], first["balance_before_minor"], first["balance_after_minor"]) == (300, 350, 650)
    assert (first["type"], first["currency"]) == ("deposit", "USD")
    assert first["description"] == "Payment deposit from external provider"
    uuid.UUID(first["id"])
    assert len(read_all(api, "/api/wallets/ann/transactions")) == 4
    assert read_all(api, "/api/wallets/nobody/transactions") == []
    assert fields_of(api.get("/api/wallets/ann/transactions", currency="usd")) == {"currency"}


def test_events_are_numbered_from_one_without_gaps(api: Api, engine: Engine, shop: Shop) -> None:
    ann, bob = engine.start(shop), engine.start(shop, user_id="bob")
    for payment in (ann, bob):
        shop.deliver(shop.body(payment))
    engine.settle()
    events = read_all(api, "/api/events", limit=2)
    assert [event["id"] for event in events] == [1, 2, 3, 4]
    kinds = {user: [e["type"] for e in events if e["payment"]["user_id"] == user] for user in ("ann", "bob")}
    assert kinds == {key: ["payment.redirect_ready", "payment.completed"] for key in ("ann", "bob")}
    assert [event["id"] for event in read_all(api, "/api/events", after=2)] == [3, 4]
    assert read_all(api, "/api/events", after=4) == []
    done = next(e for e in events if e["type"] == "payment.completed" and e["payment"]["user_id"] == "ann")
    assert done.keys() == {"id", "type", "payment", "at"}
    assert done["payment"] == api.read(ann.id)
    own = read_all(Api(api.base, shop.token("bob")), "/api/events")
    assert {event["payment"]["id"] for event in own} == {str(bob.id)}
    for after in ("-1", "x", str(2**63), "1" * 30):
        assert fields_of(api.get("/api/events", after=after)) == {"after"}


def test_the_timeline_lists_everything_in_order(api: Api, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    shop.deliver(shop.body(payment))
    engine.settle()
    events = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    assert all(event.keys() == {"at", "kind", "actor", "detail"} for event in events)
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    kinds = [event["kind"] for event in events]
    # What one transaction wrote has one time; the order within it is the walk of the flow.
    assert kinds == [
        *("payment_created", "provider_call", "decision", "notification"),
        *("webhook", "decision", "entry", "entry", "notification"),
    ]
    assert events[0]["actor"] == f"key:{shop.key_id}"
    assert events[4]["actor"] == f"provider:{shop.provider_id}"
    assert (events[4]["detail"]["status"], events[4]["detail"]["verdict"]) == ("processed", "applied")
    assert events[1]["detail"]["action"] == "create"
    assert (events[5]["detail"]["from"], events[5]["detail"]["to"]) == ("processing", "completed")
    assert {(e["detail"]["wallet"], e["detail"]["amount_minor"]) for e in events if e["kind"] == "entry"} == {
        ("user", 2500),
        ("clearing", -2500),
    }


def test_health_and_metrics(front: Stack) -> None:
    anyone = Api(front.web, None)
    for path in ("/health/live", "/health/ready"):
        answer = anyone.get(path)
        assert (answer.status_code, answer.json()["status"], answer.json()["failing"]) == (200, "ok", [])
    # `providers` is there while one of another test's tenants cannot be used.
    work = anyone.get("/health/work").json()["detail"]
    assert work.keys() - {"providers"} == {"settle", "provider", "notify", "deliver"}
    metrics = anyone.get("/metrics")
    assert metrics.status_code == 200
    assert "sluice_due_rows" in metrics.text


def test_what_is_not_there_is_a_problem_too(api: Api) -> None:
    problem_of(api.get("/nowhere"), 404)
    problem_of(api.get("/api/payments/not-an-id"), 404)
    problem_of(api.get(f"/api/payments/{uuid.uuid4()}"), 404)
    problem_of(api.send("DELETE", "/api/payments"), 405)
    answer = api.get("/api/payments/deposit")
    problem_of(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize("path", ["/ws", "/api/stream", "/ws?after=1", "/api/stream?ticket=x"])
@pytest.mark.parametrize("headers", [{}, UPGRADE, {"Accept": "text/event-stream", "Last-Event-ID": "7"}])
def test_live_connections_are_pointed_to_their_base(front: Stack, path: str, headers: dict[str, str]) -> None:
    answer = Api(front.web, None).get(path, headers)
    assert front.sockets in problem_of(answer, 421)["detail"]
    assert answer.headers["Content-Location"] == front.sockets


@pytest.mark.parametrize(("origin", "is_readable"), [("https://shop.example", True), ("https://evil.example", False)])
def test_a_page_can_read_where_streams_are_served(front: Stack, api: Api, origin: str, is_readable: bool) -> None:
    own = front.make_shop(allowed_origins=("https://shop.example",))
    for path in ("/api/stream", "/ws"):
        answer = Api(front.web, own.secret_key).get(path, {"Origin": origin})
        problem_of(answer, 421)
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if is_readable else None)
        assert ("Content-Location" in answer.headers.get("Access-Control-Expose-Headers", "")) is is_readable


def test_pages_of_entries_hold_each_once_whatever_is_posted_meanwhile(api: Api, engine: Engine, shop: Shop) -> None:
    for amount, currency in (("1.00", "USD"), ("2", "JPY"), ("3.00", "USD"), ("4.00", "EUR"), ("5.00", "USD")):
        paid(engine, shop, amount=amount, currency=currency)
    path = "/api/wallets/ann/transactions"
    for limit in (1, 2, 5, 100):
        assert [row["amount"] for row in read_all(api, path, limit=limit)] == ["5.00", "4.00", "3.00", "2", "1.00"]
    first = api.get(path, limit=1).json()
    # Also in wallets that the first page shows nothing of, and in one that was not there.
    for currency in ("USD", "JPY", "GBP"):
        paid(engine, shop, amount="9", currency=currency)
    second = api.get(path, limit=100, cursor=first["next_cursor"]).json()
    assert [row["amount"] for row in second["data"]] == ["4.00", "3.00", "2", "1.00"]
    only = api.get(path, limit=100, cursor=first["next_cursor"], currency="USD").json()
    assert [row["amount"] for row in only["data"]] == ["3.00", "1.00"]
    others = api.get("/api/payments", limit=1).json()["next_cursor"]
    # The last two are USD:-1 and USD:9999999999999999999, which no version can be.
    for cursor in (others, "eA", "VVNEOi0x", "VVNEOjk5OTk5OTk5OTk5OTk5OTk5OTk"):
        assert fields_of(api.get(path, cursor=cursor)) == {"cursor"}


def test_entries_keep_the_order_of_their_wallet_where_their_times_do_not(
    api: Api, engine: Engine, shop: Shop, databases: Databases
) -> None:
    for amount in ("1.00", "2.00", "3.00"):
        paid(engine, shop, amount=amount)
    with databases.superuser.transaction() as cursor:
        # The second entry's transaction began last: it waited for the wallet.
        cursor.execute("set local session_replication_role = replica")
        cursor.execute("update wallet_transactions set at = at + interval '1 hour' where wallet_version = 2")
    rows = read_all(api, "/api/wallets/ann/transactions", limit=1)
    assert [row["amount"] for row in rows] == ["3.00", "2.00", "1.00"]
