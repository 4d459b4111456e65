"""What a deposit says about its payer reaches the provider, and is encrypted wherever it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest

from app.providers import Order
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.payments.calls.provider_claims import claim_calls
from app.services.queues.dispatcher import UnderWay
from app.services.tenants.key_rotation import rotate_encryption
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of
from tests.support.engine import Engine, call_and_settle, claim_call

CUSTOMER = {
    "email": "ann.secretive@example.com",
    "name": "Ann Secretive",
    "phone": "+41441234567",
    "country": "CH",
    "locale": "de-CH",
}
DESCRIPTION = "Order of secretive things"


class TellingAdapter(SandboxAdapter):
    """The sandbox's adapter, which sends the payer's details in the metadata."""

    def build_request(self, order: Order) -> bytes:
        told = {**order.metadata, **order.customer, "description": order.description or ""}
        return super().build_request(replace(order, metadata=told))


@pytest.fixture
def telling(engine: Engine) -> Iterator[Engine]:
    # Deposits of other tests are not claimed in place of this test's.
    engine.call()
    own = engine.runtime.adapters["sandbox"]
    engine.runtime.adapters["sandbox"] = TellingAdapter(frozenset(engine.runtime.settings.private_providers))
    yield engine
    engine.runtime.adapters["sandbox"] = own


def find_text(databases: Databases, text: str) -> list[str]:
    """Return the columns of all tables that have `text` somewhere, in plain or in bytes."""
    tables = databases.rows("select tablename from pg_tables where schemaname = 'public'")
    return [
        table["tablename"]
        for table in tables
        if databases.value(
            f"select count(*) from {table['tablename']} t where position(:text in t::text) > 0"
            " or position(encode(convert_to(:text, 'utf8'), 'hex') in t::text) > 0",
            text=text,
        )
    ]


def test_the_details_reach_the_provider_and_are_stored_encrypted_only(
    front: Stack, telling: Engine, api: Api, shop: Shop
) -> None:
    answer = api.deposit(customer=CUSTOMER, description=DESCRIPTION)
    assert answer.status_code == 202
    payment_id = answer.json()["id"]
    claim = claim_call(telling.runtime)
    assert claim is not None
    assert orjson.loads(claim.request)["metadata"] == {**CUSTOMER, "description": DESCRIPTION}
    call_and_settle(telling.runtime, claim)
    assert len(front.sandbox.truth(payment_id)["payments"]) == 1
    for text in ("secretive", CUSTOMER["phone"]):
        assert find_text(telling.databases, text) == []
    assert DESCRIPTION not in api.get(f"/api/payments/{payment_id}").text
    assert DESCRIPTION not in api.get(f"/api/payments/{payment_id}/timeline").text


def test_a_second_try_sends_the_same_bytes_also_under_a_new_key(telling: Engine, api: Api, shop: Shop) -> None:
    payment_id = api.deposit(customer=CUSTOMER).json()["id"]
    first = claim_call(telling.runtime)
    assert first is not None
    assert CUSTOMER["email"].encode() in first.request
    rotate_encryption(telling.runtime, ACTOR)
    telling.make_due(payment_id)
    (again,) = claim_calls(telling.runtime, 1, UnderWay(16)).calls
    assert (again.request, again.is_private, again.attempts) == (first.request, True, 2)
    assert CUSTOMER["email"] not in repr(again)


def test_a_given_up_call_keeps_no_details(telling: Engine, api: Api, shop: Shop, front: Stack) -> None:
    payment_id = api.deposit(customer=CUSTOMER).json()["id"]
    front.sandbox.script(match={"merchant_reference": payment_id}, create={"status": 401})
    telling.call()
    (letter,) = api.get("/api/dead-letters").json()["data"]
    shown = api.get(f"/api/dead-letters/{letter['id']}")
    assert (letter["reason"], shown.json()["body_base64"]) == ("provider_refused_us", None)
    assert find_text(telling.databases, CUSTOMER["email"]) == []


def test_a_deposit_without_details_writes_no_row_of_them(api: Api, engine: Engine, shop: Shop) -> None:
    api.deposit(customer={})
    assert engine.databases.value("select count(*) from payment_details where tenant_id = :id", id=shop.tenant_id) == 0


def test_the_details_belong_to_the_request_of_a_key(api: Api) -> None:
    first = api.deposit("one", customer=CUSTOMER, description="a")
    assert api.deposit("one", customer=CUSTOMER, description="a").json()["id"] == first.json()["id"]
    assert api.deposit("one", customer=CUSTOMER, description="b").status_code == 422
    assert api.deposit("one", customer={**CUSTOMER, "name": "Bob"}, description="a").status_code == 422
    # A key from before there were details has a hash without them.
    plain = api.deposit("two")
    assert api.deposit("two", customer=None, description=None).json()["id"] == plain.json()["id"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no address"),
        ("email", "a@b\r\nBcc: c@d"),
        ("name", "line\nbreak"),
        ("name", ""),
        ("phone", "041 123"),
        ("country", "Switzerland"),
        ("locale", "de_CH!"),
        ("age", "42"),
    ],
)
def test_invalid_details_are_field_errors(api: Api, field: str, value: str) -> None:
    answer = api.deposit(customer={field: value})
    assert fields_of(answer) == {f"customer.{field}"}


def test_a_card_number_in_the_details_is_refused(api: Api) -> None:
    answer = api.deposit(customer={"name": "4242 4242 4242 4242"}, description="4242424242424242")
    assert fields_of(answer) == {"customer.name", "description"}


def test_the_details_can_be_read_by_nobody_but_the_calls(engine: Engine, api: Api, shop: Shop) -> None:
    api.deposit(customer=CUSTOMER)
    row = engine.databases.rows("select details_encrypted from payment_details order by payment_id desc limit 1")[0]
    plain = orjson.loads(engine.runtime.vault.decrypt_bytes(row["details_encrypted"]))
    assert plain == {"customer": CUSTOMER, "description": None}
    roles = engine.databases.rows(
        "select grantee from information_schema.role_table_grants where table_name = 'payment_details'"
        " and privilege_type = 'SELECT' and grantee like 'sluice_%'"
    )
    assert {row["grantee"] for row in roles} - {"sluice_owner"} == {"sluice_worker", "sluice_operator"}
