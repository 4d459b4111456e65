"""The readable reference: what it makes of an OpenAPI document."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from app.web.openapi.reference import Operation, list_operations, list_schemas

SPEC: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Sluice", "version": "1"},
    "security": [{"secretKey": []}, {"clientToken": []}],
    "tags": [{"name": "Payments"}, {"name": "Unused"}],
    "paths": {
        "/api/payments/deposit": {
            "post": {
                "tags": ["Payments"],
                "operationId": "makeDeposit",
                "parameters": [{"$ref": "#/components/parameters/Key"}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Deposit"}}}},
                "responses": {
                    "202": {
                        "description": "Accepted",
                        "headers": {"Location": {"schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Payment"}}},
                    },
                    "422": {"$ref": "#/components/responses/Problem"},
                },
            }
        },
        "/api/payments/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"responses": {"200": {"description": "The payment"}}, "security": []},
        },
    },
    "components": {
        "parameters": {
            "Key": {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                "example": "it's mine",
            }
        },
        "responses": {
            "Problem": {
                "description": "Refused",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
        },
        "schemas": {
            "Deposit": {
                "type": "object",
                "required": ["amount"],
                "properties": {
                    "amount": {"type": "string", "examples": ["25.00"], "pattern": "^[0-9.]+$"},
                    "provider_id": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                },
            },
            "Payment": {
                "type": "object",
                "required": ["status", "exception"],
                "properties": {
                    "status": {"enum": ["pending", "completed"]},
                    "exception": {"enum": [None, "late"]},
                    "entries": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}},
                    "at": {"type": ["string", "null"], "format": "date-time"},
                },
            },
            "Entry": {"type": "object", "properties": {"parent": {"$ref": "#/components/schemas/Entry"}}},
            "Problem": {"type": "object", "properties": {"title": {"type": "string"}}},
            "Currency": {"type": "string", "description": "ISO 4217"},
            "Digit": {"enum": list("abcdefghijklm")},
        },
    },
}


def words_in_a_shell(command: str) -> list[str]:
    """What curl would get from a shell that has the key in its environment."""
    script = "curl() { printf '%s\\0' \"$@\"; }\n" + command
    done = subprocess.run(["sh", "-c", script], env={"SLUICE_KEY": "sk_1"}, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\0").split("\0")


@pytest.fixture
def deposit() -> Operation:
    return list_operations(SPEC, "https://pay.example")["Payments"][0]


def test_operations_are_grouped_by_tag_and_empty_tags_are_left_out() -> None:
    groups = list_operations(SPEC, "https://pay.example")
    assert {tag: [operation.method for operation in operations] for tag, operations in groups.items()} == {
        "Payments": ["POST"],
        "API": ["GET"],
    }


def test_references_are_followed_and_limits_are_told(deposit: Operation) -> None:
    key = deposit.parameters[0]
    assert (key.name, key.place, key.required) == ("Idempotency-Key", "header", True)
    assert key.limits == ("at least 1 characters", "at most 255 characters")
    assert [(field.name, field.type, field.required) for field in deposit.body] == [
        ("amount", "string", True),
        ("provider_id", "string or null", False),
    ]
    assert [(answer.status, answer.schema, answer.headers) for answer in deposit.answers] == [
        ("202", "Payment", ("Location",)),
        ("422", "Problem", ()),
    ]
    assert deposit.credentials == ("secretKey", "clientToken")


def test_the_curl_call_survives_a_shell(deposit: Operation) -> None:
    assert words_in_a_shell(deposit.curl) == [
        *("-X", "POST", "https://pay.example/api/payments/deposit"),
        *("-H", "Authorization: Bearer sk_1"),
        *("-H", "Idempotency-Key: it's mine"),
        *("-H", "Content-Type: application/json"),
        *("-d", '{"amount": "25.00"}'),
    ]


def test_a_call_without_credential_or_example_says_so_by_leaving_them_out() -> None:
    read = list_operations(SPEC, "https://pay.example")["API"][0]
    assert words_in_a_shell(read.curl) == ["https://pay.example/api/payments/{id}"]
    assert read.credentials == ()
    assert [field.place for field in read.parameters] == ["path"]


def test_an_answer_has_an_example_that_fits_and_ends_for_a_schema_that_holds_itself(deposit: Operation) -> None:
    example = json.loads(deposit.answers[0].example)
    assert example["status"] == "pending"
    assert example["exception"] is None
    assert example["at"] == "2026-01-31T12:00:00.000000Z"
    assert deposit.answers[1].example == ""
    depth = deposit.answers[0].example.count("parent")
    assert 0 < depth < 10


def test_schemas_show_fields_or_their_type() -> None:
    schemas = {name: (fields, type_) for name, _, fields, type_ in list_schemas(SPEC)}
    assert schemas["Currency"] == ((), "string")
    assert schemas["Digit"] == ((), "a | b | c | … (13 values, all in openapi.json)")
    payment = {field.name: field for field in schemas["Payment"][0]}
    assert payment["status"].type == "pending | completed"
    assert payment["exception"].type == "null | late"
    assert (payment["entries"].type, payment["entries"].schema) == ("list of Entry", "Entry")
    assert payment["at"].type == "string (date-time) or null"
