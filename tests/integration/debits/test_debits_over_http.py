"""Debits over HTTP and on the command line (CONTRACT section 10): the whole of one, its repeats, lists and refusals."""

from __future__ import annotations

import uuid
from typing import Any

import requests

from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.debits.debit_requests import check_books, credit, take, wallet
from tests.support.clients.api import Api, fields_of, problem_of
from tests.support.commands import Commands
from tests.support.engine import Engine

ASKED = {"amount": "10.00", "currency": "USD", "reference": "order-7", "description": "Two tickets"}


def post(api: Api, key: str, body: dict[str, Any] | None = None, user_id: str = "ann") -> requests.Response:
    """Make a debit over HTTP."""
    return api.post(f"/api/wallets/{user_id}/debits", ASKED if body is None else body, {"Idempotency-Key": key})


def test_a_debit_from_the_request_to_its_reversal(api: Api, engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    answer = post(api, "first")
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)
    debit = answer.json()
    assert answer.headers["Location"] == f"/api/debits/{debit['id']}"
    entry = debit["entry"]
    assert debit == {
        **ASKED,
        "id": debit["id"],
        "user_id": "ann",
        "amount_minor": 1000,
        "status": "completed",
        "created_at": entry["at"],
        "reversed_at": None,
        "reversal_reason": None,
        "entry": {
            "id": entry["id"],
            "currency": "USD",
            "amount": "-10.00",
            "amount_minor": -1000,
            "balance_before": "25.00",
            "balance_before_minor": 2500,
            "balance_after": "15.00",
            "balance_after_minor": 1500,
            "type": "debit",
            "reference_id": debit["id"],
            "reference": "order-7",
            "description": "Two tickets",
            "at": entry["at"],
        },
        "reversal_entry": None,
    }
    assert api.get(f"/api/debits/{debit['id']}").json() == debit
    # The same request is the same debit; another body or another user is refused.
    again = post(api, "first")
    assert (again.status_code, again.headers["Idempotent-Replayed"], again.json()) == (201, "true", debit)
    for reused in (post(api, "first", ASKED | {"reference": "order-8"}), post(api, "first", user_id="bob")):
        assert problem_of(reused, 422)["code"] == "idempotency_key_reused"
    entries = api.get("/api/wallets/ann/transactions").json()["data"]
    assert entries[0] == entry
    assert (entries[1]["type"], entries[1]["reference"]) == ("deposit", None)
    # A browser sees what its user's wallet was spent on.
    assert Api(api.base, shop.token("ann")).get("/api/wallets/ann/transactions").json()["data"] == entries
    reversed_ = api.post(f"/api/debits/{debit['id']}/reverse", {"reason": "order cancelled"})
    assert reversed_.status_code == 200
    given = reversed_.json()
    assert (given["status"], given["reversal_reason"], given["entry"]) == ("reversed", "order cancelled", entry)
    back = given["reversal_entry"]
    assert (back["type"], back["amount"], back["balance_after"]) == ("debit_reversal", "10.00", "25.00")
    assert (back["reference"], back["at"]) == ("order-7", given["reversed_at"])
    assert problem_of(api.post(f"/api/debits/{debit['id']}/reverse"), 409)["code"] == "debit_reversed"
    assert api.get("/api/wallets/ann/transactions").json()["data"] == [back, *entries]
    # A repeat of the first request is still the first debit, as it is now.
    assert post(api, "first").json() == given
    check_books(engine, shop)


def test_a_refusal_uses_no_key_up(api: Api, engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    refused = problem_of(post(api, "kept", ASKED | {"amount": "25.01"}), 409)
    assert (refused["code"], "25.00 USD available" in refused["detail"]) == ("insufficient_funds", True)
    assert problem_of(post(api, "kept", user_id="nobody"), 409)["code"] == "insufficient_funds"
    assert problem_of(post(api, "kept", ASKED | {"currency": "EUR"}), 409)["code"] == "insufficient_funds"
    for changes, fields in (
        ({"amount": "0.00"}, {"amount"}),
        ({"amount": "-1.00"}, {"amount"}),
        ({"amount": 10}, {"amount"}),
        ({"amount": "1.001"}, {"amount"}),
        ({"currency": "usd"}, {"currency"}),
        ({"reference": ""}, {"reference"}),
        ({"reference": "x" * 256}, {"reference"}),
        ({"reference": "two\nlines"}, {"reference"}),
        ({"description": "4111 1111 1111 1111"}, {"description"}),
        ({"user_id": "ann"}, {"user_id"}),
    ):
        assert fields_of(post(api, "kept", ASKED | changes)) == fields, changes
    assert fields_of(post(api, "kept", {"amount": "1.00", "currency": "USD"})) == {"reference"}
    assert fields_of(api.post("/api/wallets/ann/debits", ASKED), 400) == {"Idempotency-Key"}
    problem_of(api.get(f"/api/debits/{uuid.uuid4()}"), 404)
    problem_of(api.post(f"/api/debits/{uuid.uuid4()}/reverse"), 404)
    assert api.get("/api/debits").json() == {"data": [], "next_cursor": None}
    assert wallet(shop) == (2500, 0, 2500)
    assert post(api, "kept", ASKED | {"amount": "25.00"}).status_code == 201


def test_debits_are_listed_newest_first(api: Api, engine: Engine, shop: Shop) -> None:
    for user in ("ann", "bob"):
        credit(engine, shop, user)
    made = [
        take(shop, f"{number}.00", user_id=user, reference=reference).debit["id"]
        for number, (user, reference) in enumerate((("ann", "a"), ("bob", "a"), ("ann", "b"), ("bob", "b")), start=1)
    ]

    def listed(**query: Any) -> list[int]:
        data = api.get("/api/debits", **query).json()["data"]
        return [made.index(one["id"]) for one in data]

    assert listed() == [3, 2, 1, 0]
    assert listed(user_id="ann") == [2, 0]
    assert listed(reference="a") == [1, 0]
    assert listed(reference="b", user_id="bob") == [3]
    assert (listed(currency="USD"), listed(currency="EUR")) == ([3, 2, 1, 0], [])
    third = api.get(f"/api/debits/{made[2]}").json()["created_at"]
    assert (listed(created_after=third), listed(created_before=third)) == ([3], [1, 0])
    page = api.get("/api/debits", limit=3).json()
    assert [made.index(one["id"]) for one in page["data"]] == [3, 2, 1]
    assert listed(limit=3, cursor=page["next_cursor"]) == [0]


def test_the_commands_ask_before_they_move_money(front: Stack, engine: Engine, shop: Shop) -> None:
    commands = Commands(front.databases)
    credit(engine, shop)
    tenant = ("--tenant", str(shop.tenant_id))
    assert commands.text("debits", "list", *tenant) == "No such debits.\n"
    create = ("debits", "create", "ann", *tenant, "--amount", "10.00", "--currency", "USD", "--reference", "order-7")
    create += ("--key", f"cli-{shop.tenant_id}", "--reason", "asked on the phone")
    asked = commands.run(*create, stdin="n\n")
    assert (asked.exit_code, "of the 25.00 USD that ann's wallet has available" in asked.output) == (1, True)
    assert commands.run(*create).exit_code == 2
    assert wallet(shop) == (2500, 0, 2500)
    made = commands.json(*create, "--yes")
    assert (made["status"], made["reference"], made["entry"]["balance_after"]) == ("completed", "order-7", "15.00")
    assert commands.json(*create, "--yes")["id"] == made["id"]
    assert "15.00 USD available" in commands.error(*create[:6], "15.01", *create[7:11], "--yes")
    assert "decimal" in commands.error(*create[:6], "ten", *create[7:11], "--yes", code=2)
    assert made["id"] in commands.text("debits", "list", *tenant, "--user", "ann", "--reference", "order-7")
    assert "order-7" in commands.text("debits", "show", made["id"])
    reverse = ("debits", "reverse", made["id"], "--reason", "cancelled")
    asked = commands.run(*reverse, stdin="n\n")
    assert (asked.exit_code, "Gives 10.00 USD back to ann's wallet" in asked.output) == (1, True)
    given = commands.json(*reverse, "--yes")
    assert (given["status"], given["reversal_reason"]) == ("reversed", "cancelled")
    assert "reversed before" in commands.error(*reverse, "--yes")
    commands.error("debits", "show", str(uuid.uuid4()))
    reasons = (
        "select detail->>'reason' as reason from audit_logs where tenant_id = :id and kind like 'debit%' order by id"
    )
    assert [row["reason"] for row in engine.databases.rows(reasons, id=shop.tenant_id)] == [
        "asked on the phone",
        "cancelled",
    ]
    check_books(engine, shop)
