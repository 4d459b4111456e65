"""The OpenAPI document describes what is there, and what is there answers as it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

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
        assert any(code.startswith("2") for code in answers), path
        if "security" in operation:
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
