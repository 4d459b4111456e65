"""The OpenAPI document describes what is there, and what is there answers as it says."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.web.answer_headers import CORS_EXPOSED
from app.web.openapi import field_descriptions
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.engine import Engine

CALLS = {
    ("POST", "/api/payments/deposit"),
    ("GET", "/api/payments"),
    ("GET", "/api/payments/{id}"),
    ("POST", "/api/payments/{id}/cancel"),
    ("GET", "/api/payments/{id}/timeline"),
    ("GET", "/api/wallets/{user_id}"),
    ("GET", "/api/wallets/{user_id}/transactions"),
    ("GET", "/api/events"),
    ("POST", "/api/client-tokens"),
    ("POST", "/api/tickets"),
    ("GET", "/api/keys"),
    ("POST", "/webhooks/payment-success"),
    ("POST", "/webhooks/payment-failed"),
    ("POST", "/webhooks/payment-callback"),
    ("POST", "/webhooks/{provider_id}"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/health/work"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
}


@pytest.fixture
def document(front: Stack) -> dict[str, Any]:
    answer = Api(front.web, None).get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "servers"
    }


def test_it_is_valid_and_holds_every_call(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()  # type: ignore[arg-type]
    assert document["openapi"].startswith("3.1")
    assert operations(document).keys() >= CALLS


def test_every_route_of_the_table_is_served(document: dict[str, Any], front: Stack) -> None:
    anyone = Api(front.web, None)
    for method, path in operations(document):
        answer = anyone.send(method, re.sub(r"{\w+}", "00000000-0000-0000-0000-000000000001", path))
        # Something answers it: a credential is asked for, or what is wrong is said; not that there is no such route.
        assert answer.status_code not in (405, 500), (method, path)
        if answer.status_code == 404:
            assert answer.json()["detail"] != anyone.get("/nowhere").json()["detail"]


def test_answers_are_documented(document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        answers = operation["responses"]
        # 101: a WebSocket.
        assert any(code.startswith("2") or code == "101" for code in answers), path
        if operation["security"]:
            assert {"401", "403", "429"} <= answers.keys(), path
        for code, answer in answers.items():
            if code[0] == "4":
                assert list(answer["content"]) == ["application/problem+json"], (method, path, code)


def test_a_payment_has_the_fields_that_the_document_names(
    document: dict[str, Any], api: Api, engine: Engine, shop: Shop
) -> None:
    payment = api.read(engine.start(shop).id)
    schema = document["components"]["schemas"]["Payment"]
    assert set(schema["properties"]) == payment.keys()
    assert set(schema["required"]) == payment.keys()


@pytest.mark.parametrize("path", ["/docs", "/docs/reference"])
def test_the_pages_for_people_need_nothing_from_elsewhere(front: Stack, path: str) -> None:
    page = Api(front.web, None).get(path)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r"""(?:src|href)=["']((?:https?:)?//[^"']+)""", page.text)
    assert [url for url in loaded if not url.startswith(front.web)] == []


def test_every_field_parameter_and_tag_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    fields = {
        f"{name}.{field}": shown
        for name, schema in schemas.items()
        for field, shown in schema.get("properties", {}).items()
    }
    assert len(fields) > 200
    assert [name for name, shown in fields.items() if not shown.get("description")] == []
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    shown = {**operations(document), **{(kind, ""): item["post"] for kind, item in document["webhooks"].items()}}
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in shown.items():
        assert set(operation["tags"]) <= tags, name
        assert operation["summary"], name
        assert operation["description"], name
        assert [one["name"] for one in operation["parameters"] if not one.get("description")] == [], name


def test_a_description_that_no_field_takes_is_gone(document: dict[str, Any]) -> None:
    shown = {
        (name, field): about["description"]
        for name, schema in document["components"]["schemas"].items()
        for field, about in schema.get("properties", {}).items()
    }
    assert (
        field_descriptions.SINGLE.items() <= {f"{name}.{field}": text for (name, field), text in shown.items()}.items()
    )
    by_name = {(field, text) for (_, field), text in shown.items()}
    assert [each for each in field_descriptions.BY_NAME.items() if each not in by_name] == []


def test_what_goes_out_is_described(document: dict[str, Any]) -> None:
    types = document["components"]["schemas"]["Event"]["properties"]["type"]["enum"]
    assert list(document["webhooks"]) == types
    for kind, item in document["webhooks"].items():
        delivery = item["post"]
        assert {one["name"] for one in delivery["parameters"]} == {
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        }
        event, single = delivery["requestBody"]["content"]["application/json"]["schema"]["allOf"]
        assert event["$ref"].endswith("/Event")
        assert single["properties"]["type"] == {"const": kind}
    stream = document["paths"]["/api/stream"]
    assert "text/event-stream" in stream["get"]["responses"]["200"]["content"]
    assert {one["name"] for one in stream["get"]["parameters"]} == {"after", "Last-Event-ID", "ticket"}
    assert document["paths"]["/ws"]["servers"] == stream["servers"]


def test_headers_of_answers_are_declared(document: dict[str, Any], front: Stack, api: Api) -> None:
    deposit = operations(document)["POST", "/api/payments/deposit"]["responses"]
    key = secrets.token_hex(8)
    answers = [api.deposit(key=key, headers={"Prefer": "wait=0"}) for _ in range(2)]
    answers += [Api(front.web, "sk_wrong").deposit(), api.deposit(amount="x")]
    assert [answer.status_code for answer in answers] == [202, 202, 401, 422]
    # Those that pages of other origins may read: what a client has a use for.
    useful = {name.strip() for name in CORS_EXPOSED.split(",")} | {"WWW-Authenticate"}
    for answer in answers:
        own = useful & set(answer.headers)
        assert own <= deposit[str(answer.status_code)]["headers"].keys(), answer.status_code
    assert "Idempotent-Replayed" in answers[1].headers


def test_no_default_is_null(document: dict[str, Any]) -> None:
    def find(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            own = [path] if value.get("default", ...) is None else []
            return own + [found for name, one in value.items() for found in find(one, f"{path}/{name}")]
        return [found for one in value for found in find(one, path)] if isinstance(value, list) else []

    assert find(document, "") == []
