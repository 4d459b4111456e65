"""Every example call of /docs runs as it is pasted, and every real answer is what the document says."""

from __future__ import annotations

import html
import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.core.payment import Payment
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.engine import Engine

EXAMPLE = re.compile(r'<pre tabindex="0" aria-label="Example call"><code>(.*?)</code></pre>', re.DOTALL)
SECTION = re.compile(r'<section id="([^"]+)"')


def list_examples(page: str) -> dict[str, str]:
    """Return the example calls of the page by their operation."""
    parts = SECTION.split(page)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: html.unescape(found[1]) for name, text in sections.items() if (found := EXAMPLE.search(text))}


@pytest.fixture
def document(front: Stack) -> dict[str, Any]:
    found: dict[str, Any] = Api(front.web, None).get("/openapi.json").json()
    return found


def make_dead_letter(shop: Shop, engine: Engine) -> None:
    """Make a dead letter that holds money."""
    payment = shop.deposit()
    shop.deliver(shop.body(payment, amount="7.00"))
    engine.settle()


def make_paid(front: Stack, shop: Shop, engine: Engine) -> Payment:
    """Make a payment whose money is credited."""
    paid = engine.start(shop)
    front.sandbox.act(str(paid.provider_reference), "pay")
    engine.run_until(lambda: shop.payment(paid.id).status == "completed", "it is credited")
    return paid


# Of the examples that move money: what the reader sets before, without which the shell refuses them.
MOVING = {
    "post_api_payments_id_refunds": "PAYMENT_ID",
    "post_api_wallets_user_id_debits": "USER_ID",
    "post_api_debits_id_reverse": "DEBIT_ID",
}


def run_example(name: str, command: str, shop: Shop, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a shell does, but that a refusal is an error."""
    # Nobody works on `front`, which its health may say.
    fail = "" if name == "get_health_work" else "--fail "
    return subprocess.run(
        ["bash", "-c", f'curl() {{ command curl -sS {fail}"$@"; }}\n' + command],
        env={"SLUICE_KEY": shop.secret_key, "PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_example_runs_as_it_is_pasted(front: Stack, shop: Shop, engine: Engine, api: Api) -> None:
    make_dead_letter(shop, engine)
    paid = make_paid(front, shop, engine)
    asked = {"amount": "1.00", "currency": "USD", "reference": "order-1"}
    debit = api.post("/api/wallets/ann/debits", asked, {"Idempotency-Key": "debit"}).json()
    api.post(f"/api/payments/{paid.id}/refunds", {"amount": "1.00"}, {"Idempotency-Key": "refund"})
    chosen = {"PAYMENT_ID": str(paid.id), "USER_ID": "ann", "DEBIT_ID": debit["id"]}
    examples = list_examples(Api(front.web, None).get("/docs").text)
    assert len(examples) > 15
    curls = {name: text for name, text in examples.items() if re.search(r"^curl ", text, re.MULTILINE)}
    assert [name for name in examples.keys() - curls.keys() if "webhooks" not in name] == []
    for name, command in curls.items():
        ran = run_example(name, command, shop, **({MOVING[name]: chosen[MOVING[name]]} if name in MOVING else {}))
        assert (ran.returncode, ran.stderr) == (0, ""), f"{name}: {command}\n{ran.stdout}\n{ran.stderr}"
    engine.call()


def test_no_example_moves_money_before_its_reader_has_said_whose(front: Stack, shop: Shop, engine: Engine) -> None:
    make_dead_letter(shop, engine)
    make_paid(front, shop, engine)
    entries = "select count(*) from wallet_transactions where tenant_id = :id"
    holds = "select count(*) from wallet_temp_logs where tenant_id = :id and kind = 'refund'"
    before = engine.databases.value(entries, id=shop.tenant_id)
    refused = []
    for name, command in list_examples(Api(front.web, None).get("/docs").text).items():
        if "curl " in command:
            ran = run_example(name, command, shop)
            refused += [name] if ran.returncode else []
            assert name not in MOVING or f"{MOVING[name]}: is the " in ran.stderr
    # Nothing was debited or refunded that could be shown.
    assert sorted(refused) == sorted([*MOVING, "get_api_debits_id_", "get_api_refunds_id_"])
    assert engine.databases.value(entries, id=shop.tenant_id) == before
    assert engine.databases.value(holds, id=shop.tenant_id) == 0
    engine.call()


def test_the_examples_decide_nothing(front: Stack, shop: Shop) -> None:
    """The examples that act on a dead letter only show what they would do."""
    examples = list_examples(Api(front.web, None).get("/docs").text)
    acting = [text for name, text in examples.items() if re.search("accept|reject|redrive", name)]
    assert len(acting) == 4
    assert all("dry_run=true" in text for text in acting)


def schemas(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]
    return found


def test_no_field_has_null_as_its_default(document: dict[str, Any]) -> None:
    """Generators of clients take a field with a default as one that is always there."""
    fields = [(name, key, one) for name, schema in schemas(document).items() for key, one in fields_of(schema)]
    assert len(fields) > 100
    assert [(name, key) for name, key, one in fields if "default" in one] == []


def fields_of(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema.get("properties", {}).items())


BODIES = {
    "/api/payments/deposit": {
        "user_id": "ann",
        "amount": "25.00",
        "currency": "USD",
        "provider_id": "provider",
        "success_url": "https://shop.example/paid",
        "failure_url": "https://shop.example/failed",
        "metadata": {"order": "7"},
    },
    "/api/client-tokens": {"user_id": "ann"},
}


@pytest.mark.parametrize("path", BODIES)
def test_what_is_optional_may_be_left_out_or_null(document: dict[str, Any], front: Stack, path: str) -> None:
    shop = front.make_shop(allowed_origins=("https://shop.example",))
    api = Api(front.web, shop.secret_key)
    reference = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = schemas(document)[reference.rsplit("/", 1)[1]]
    body = {name: str(shop.provider_id) if value == "provider" else value for name, value in BODIES[path].items()}
    known = {name for name, _ in fields_of(schema)}
    assert body.keys() <= known
    # With a secret key the user must be named; a client token has its own.
    required = set(schema["required"]) | {"user_id"}
    for name in sorted(known):
        rest = {key: value for key, value in body.items() if key != name}
        answer = api.post(path, rest, {"Idempotency-Key": uuid.uuid4().hex})
        assert answer.status_code == (422 if name in required else 202), (name, answer.text)
        takes_null = {"type": "null"} in schema["properties"][name].get("anyOf", [])
        answer = api.post(path, {**rest, name: None}, {"Idempotency-Key": uuid.uuid4().hex})
        assert answer.status_code == (202 if takes_null and name not in required else 422), (name, answer.text)
    minimal = {name: value for name, value in body.items() if name in required}
    answer = api.post(path, minimal, {"Idempotency-Key": uuid.uuid4().hex})
    assert answer.status_code in (201, 202), answer.text


def read_everything(shop: Shop, api: Api, engine: Engine, front: Stack) -> Iterator[tuple[str, str, Any]]:
    """Yield (method, path, answer) of calls that are answered well, each shape at least once with all its parts."""
    make_dead_letter(shop, engine)
    paid = make_paid(front, shop, engine)
    refunds = f"/api/payments/{paid.id}/refunds"
    refund = api.post(refunds, {"amount": "1.00"}, {"Idempotency-Key": "refund"})
    yield "post", "/api/payments/{id}/refunds", refund
    refund_path = f"/api/refunds/{refund.json()['id']}"
    engine.run_until(lambda: api.get(refund_path).json()["status"] == "completed", "it is refunded")
    yield "get", "/api/payments/{id}/refunds", api.get(refunds)
    yield "get", "/api/refunds/{id}", api.get(refund_path)
    asked = {"amount": "1.00", "currency": "USD", "reference": "order-1", "description": "A ticket"}
    debit = api.post("/api/wallets/ann/debits", asked, {"Idempotency-Key": "debit"})
    yield "post", "/api/wallets/{user_id}/debits", debit
    debit_path = f"/api/debits/{debit.json()['id']}"
    yield "get", "/api/debits", api.get("/api/debits")
    yield "get", "/api/debits/{id}", api.get(debit_path)
    yield "post", "/api/debits/{id}/reverse", api.post(f"{debit_path}/reverse", {"reason": "order cancelled"})
    made = api.post("/api/webhook-endpoints", {"url": "https://shop.example/hooks", "event_types": ["payment.failed"]})
    yield "post", "/api/webhook-endpoints", made
    yield "get", "/api/webhook-endpoints", api.get("/api/webhook-endpoints")
    endpoint, path = "/api/webhook-endpoints/{id}", f"/api/webhook-endpoints/{made.json()['id']}"
    yield "get", endpoint, api.get(path)
    yield "patch", endpoint, api.send("PATCH", path, json={"url": "https://new.example/hooks"})
    yield "post", f"{endpoint}/rotate-secret", api.post(f"{path}/rotate-secret", {"overlap_seconds": 0})
    tested = api.post(f"{path}/test")
    yield "post", f"{endpoint}/test", tested
    yield "get", f"{endpoint}/deliveries", api.get(f"{path}/deliveries")
    yield "post", f"{endpoint}/redeliver", api.post(f"{path}/redeliver", {"status": "failed"})
    delivery, path_of_delivery = "/api/webhook-deliveries/{id}", f"/api/webhook-deliveries/{tested.json()['id']}"
    yield "get", delivery, api.get(path_of_delivery)
    yield "post", f"{delivery}/redeliver", api.post(f"{path_of_delivery}/redeliver")
    front.sandbox.happen(str(paid.provider_reference), "dispute", message="fraudulent")
    engine.run_until(lambda: shop.payment(paid.id).exception == "disputed", "its dispute is known")
    engine.number()
    yield "post", "/api/payments/deposit", api.deposit()
    yield "get", "/api/payments", api.get("/api/payments")
    yield "get", "/api/payments/{id}", api.get(f"/api/payments/{paid.id}")
    yield "get", "/api/payments/{id}/timeline", api.get(f"/api/payments/{paid.id}/timeline")
    yield "post", "/api/payments/{id}/cancel", api.post(f"/api/payments/{shop.deposit().id}/cancel")
    yield "get", "/api/wallets/{user_id}", api.get("/api/wallets/ann")
    yield "get", "/api/wallets/{user_id}/transactions", api.get("/api/wallets/ann/transactions")
    yield "get", "/api/events", api.get("/api/events")
    token = api.post("/api/client-tokens", {"user_id": "ann"})
    yield "post", "/api/client-tokens", token
    yield "post", "/api/tickets", Api(front.web, token.json()["token"]).post("/api/tickets")
    letters = api.get("/api/dead-letters")
    yield "get", "/api/dead-letters", letters
    letter = letters.json()["data"][0]["id"]
    yield "get", "/api/dead-letters/{id}", api.get(f"/api/dead-letters/{letter}")
    yield "post", "/api/dead-letters/redrive", api.post("/api/dead-letters/redrive?dry_run=true")
    for action in ("redrive", "accept", "reject"):
        path = f"/api/dead-letters/{letter}/{action}?dry_run=true"
        yield "post", f"/api/dead-letters/{{id}}/{action}", api.post(path)
    for path in ("/health/live", "/health/ready", "/health/work"):
        yield "get", path, api.get(path)


def test_real_answers_are_what_the_document_says(
    document: dict[str, Any], front: Stack, shop: Shop, api: Api, engine: Engine
) -> None:
    seen: dict[str, set[str]] = {}
    for method, path, answer in read_everything(shop, api, engine, front):
        responses = document["paths"][path][method]["responses"]
        assert str(answer.status_code) in responses, (path, answer.status_code, answer.text)
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        errors = [error.message for error in Draft202012Validator(whole).iter_errors(answer.json())]
        assert errors == [], (path, answer.text)
        note_fields(document, schema, answer.json(), seen)
    # A field that never comes is none.
    never = {name: set(dict(fields_of(schemas(document)[name]))) - found for name, found in seen.items()}
    assert {name: fields for name, fields in never.items() if fields} == {}
    assert {
        "Payment",
        "Wallet",
        "Entry",
        "Event",
        "TimelineEvent",
        "DeadLetter",
        "DeadLetterDetail",
        "Refund",
        "Debit",
    } <= seen.keys()


def note_fields(document: dict[str, Any], schema: dict[str, Any], value: Any, seen: dict[str, set[str]]) -> None:
    """Note which fields of named schemas are in the answer; fails where one is not in the document."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        schema = schemas(document)[name]
        if isinstance(value, dict):
            known = dict(fields_of(schema))
            assert value.keys() <= known.keys(), (name, value.keys() - known.keys())
            seen.setdefault(name, set()).update(value)
            for key, inner in value.items():
                note_fields(document, known[key], inner, seen)
    elif isinstance(value, list):
        for item in value:
            note_fields(document, schema.get("items", {}), item, seen)


def test_a_refused_request_and_a_receipt_are_what_the_document_says(
    document: dict[str, Any], front: Stack, shop: Shop, api: Api
) -> None:
    validators = {
        name: Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
        for name in ("Problem", "WebhookReceipt")
    }
    for answer in (api.get("/api/payments/x"), api.deposit(amount="x"), Api(front.web, None).get("/api/payments")):
        assert list(validators["Problem"].iter_errors(answer.json())) == []
        assert answer.json().get("errors") != []
    body = json.dumps({"a": 1})
    assert not validators["WebhookReceipt"].is_valid(json.loads(body))
