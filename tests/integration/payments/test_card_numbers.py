"""Card numbers are refused with a field error and stored nowhere; what a client sends is never changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of
from tests.support.commands import Commands
from tests.support.engine import Engine

CARD = "4242424242424242"
SPACED = "4242 4242 4242 4242"
IMEI = "356938035643809"
RETURN = "https://shop.example/back"

# A deposit with a card number in one of its fields, and the field that the error must name.
WITH_CARD: dict[str, tuple[dict[str, Any], str]] = {
    "user_id": ({"user_id": CARD}, "user_id"),
    "user_id with dots": ({"user_id": "4242.4242.4242.4242"}, "user_id"),
    "user_id with a name": ({"user_id": f"user:{CARD}"}, "user_id"),
    "metadata value": ({"metadata": {"note": f"paid with {SPACED}"}}, "metadata.note"),
    "metadata value, underscores": ({"metadata": {"note": SPACED.replace(" ", "_")}}, "metadata.note"),
    "metadata value, full width": (
        {"metadata": {"note": "".join(chr(ord(one) + 0xFEE0) for one in CARD)}},
        "metadata.note",
    ),
    "metadata key": ({"metadata": {CARD: "x"}}, "metadata"),
    "success_url": ({"success_url": f"{RETURN}?pan={CARD}"}, "success_url"),
    "success_url encoded": ({"success_url": f"{RETURN}?pan={SPACED.replace(' ', '%20')}"}, "success_url"),
    "failure_url path": ({"failure_url": f"{RETURN}/{CARD}/x"}, "failure_url"),
}


def count(stack: Stack, shop: Shop) -> int:
    found: int = stack.databases.value(
        "select count(*) from payment_transactions where tenant_id = :id", id=shop.tenant_id
    )
    return found


@pytest.mark.parametrize("name", WITH_CARD)
def test_a_card_number_in_a_deposit_is_a_field_error(front: Stack, shop: Shop, api: Api, name: str) -> None:
    body, field = WITH_CARD[name]
    answer = api.deposit("a-key", **body)
    assert fields_of(answer) == {field}
    assert CARD not in answer.text
    assert SPACED not in answer.text
    assert count(front, shop) == 0
    # A refused body does not use the key up.
    assert api.deposit("a-key").status_code == 202


def test_a_card_number_as_a_key_or_a_tokens_user_is_a_field_error(front: Stack, shop: Shop, api: Api) -> None:
    for key in (CARD, SPACED, f"order-{SPACED.replace(' ', '-')}"):
        assert fields_of(api.deposit(key)) == {"Idempotency-Key"}
    assert fields_of(api.post("/api/client-tokens", {"user_id": CARD})) == {"user_id"}
    assert count(front, shop) == 0


def test_what_is_no_card_number_is_kept_and_reaches_the_provider_as_it_is(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    metadata = {
        "imei": IMEI,
        "order": "1234567890123456",
        "at": "1764255330123456",
        "phone": "+49 151 12345674",
        "note": "4242424242424241",
    }
    asked = api.deposit(IMEI, user_id=IMEI, metadata=metadata)
    assert (asked.status_code, asked.json()["metadata"], asked.json()["user_id"]) == (202, metadata, IMEI)
    engine.call()
    payment = api.read(asked.json()["id"])
    assert (payment["status"], payment["metadata"]) == ("processing", metadata)
    assert at_the_provider(front, shop, payment)["metadata"] == metadata


def at_the_provider(front: Stack, shop: Shop, payment: dict[str, Any]) -> dict[str, Any]:
    """Return the payment as the sandbox has it."""
    answer = Api(front.sandbox.url, shop.provider_api_key).get(f"/v1/payments/{payment['provider_reference']}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("letter", ["v", "é", "漢", "😀", '"'])
def test_fifty_pairs_of_full_length_reach_the_provider(
    front: Stack, engine: Engine, shop: Shop, api: Api, letter: str
) -> None:
    metadata = {f"{number:02}".ljust(40, letter): letter * 500 for number in range(50)}
    asked = api.deposit(metadata=metadata)
    assert asked.status_code == 202
    engine.call()
    payment = api.read(asked.json()["id"])
    assert (payment["status"], payment["failure_reason"]) == ("processing", None)
    there = at_the_provider(front, shop, payment)
    assert (there["metadata"], there["merchant_reference"]) == (metadata, payment["id"])


def test_a_tenant_names_the_fields_that_are_ids(front: Stack, shop: Shop, api: Api) -> None:
    commands, tenant = Commands(front.databases), str(shop.tenant_id)
    changed = commands.json("tenants", "policy", tenant, "--id-fields", "order_id, imei,Idempotency-Key,user_id,imei")
    assert changed["id_fields"] == ["Idempotency-Key", "imei", "order_id", "user_id"]
    assert commands.json("tenants", "policy", tenant)["id_fields"] == changed["id_fields"]
    audited = front.databases.value(
        "select detail from audit_logs where tenant_id = :id and kind = 'tenant_policy_changed'", id=shop.tenant_id
    )
    assert audited == {"id_fields": changed["id_fields"]}
    asked = api.deposit(CARD, user_id=CARD, metadata={"order_id": CARD})
    assert (asked.status_code, asked.json()["metadata"]) == (202, {"order_id": CARD})
    assert api.post("/api/client-tokens", {"user_id": CARD}).status_code == 201
    assert fields_of(api.deposit(metadata={"order_id": CARD, "note": CARD})) == {"metadata.note"}
    # Another tenant's policy counts for that tenant only.
    stranger = Api(front.web, front.make_shop().secret_key)
    assert fields_of(stranger.deposit(CARD)) == {"Idempotency-Key"}
    # A payment that was accepted is found by its key, whatever the policy says by now.
    assert commands.json("tenants", "policy", tenant, "--id-fields", "")["id_fields"] == []
    again = api.deposit(CARD, user_id=CARD, metadata={"order_id": CARD})
    assert (again.status_code, again.json()["id"]) == (202, asked.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert fields_of(api.deposit("new", user_id=CARD, metadata={"order_id": CARD})) == {"user_id", "metadata.order_id"}
    assert api.deposit(CARD, user_id=CARD, metadata={"order_id": CARD, "more": ""}).status_code == 422


@pytest.mark.parametrize("names", ["x" * 41, CARD, "a\u0007b", ",".join(map(str, range(51)))])
def test_names_that_cannot_be_fields_are_refused(front: Stack, shop: Shop, names: str) -> None:
    commands = Commands(front.databases)
    commands.error("tenants", "policy", str(shop.tenant_id), "--id-fields", names)
    assert commands.json("tenants", "policy", str(shop.tenant_id))["id_fields"] == []


def test_a_row_with_masked_metadata_is_read_and_found_by_its_key(front: Stack, shop: Shop, api: Api) -> None:
    """As earlier versions stored it: the value masked, the hash over what the client had sent."""
    payment = api.deposit("masked").json()
    body = {"user_id": "ann", "amount": "25.00", "currency": "USD", "metadata": {"note": CARD}}
    canonical = body | {"amount": 2500, "provider_id": None, "success_url": None, "failure_url": None}
    front.databases.rows(
        'update payment_transactions set metadata = \'{"note": "[card ...4242]"}\', request_sha256 = :hash'
        " where id = :id",
        hash=hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).digest(),
        id=payment["id"],
    )
    again = api.deposit("masked", metadata={"note": CARD})
    assert (again.status_code, again.json()["id"]) == (202, payment["id"])
    assert again.json()["metadata"] == {"note": "[card ...4242]"}
    assert api.read(payment["id"])["metadata"] == {"note": "[card ...4242]"}


def test_an_operators_reason_holds_no_card_number(front: Stack, api: Api) -> None:
    for action in ("accept", "reject", "redrive"):
        path = f"/api/dead-letters/00000000-0000-4000-8000-000000000000/{action}"
        assert fields_of(api.post(path, {"reason": f"refunded to {SPACED}"})) == {"reason"}
    words = ("dead-letters", "accept", "00000000-0000-4000-8000-000000000000", "--yes", "--reason", SPACED)
    assert "card number" in Commands(front.databases).error(*words, code=2)
