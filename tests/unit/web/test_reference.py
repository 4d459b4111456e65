"""The page /docs: what it makes of the OpenAPI document."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.local.bootstrap import DemoTenant
from app.web.openapi.example_calls import ExampleCall
from app.web.openapi.reference import RouteEntry, list_problems, list_routes

WEB = Path(__file__).resolve().parents[3] / "app" / "web"
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "examples": ["it's mine"]},
}
OK = {"description": "Done"}
SPEC: dict[str, Any] = {
    "paths": {
        "/api/payments/deposit": {
            "post": {
                "tags": ["Payments"],
                "operationId": "post_deposit",
                "summary": "Ask",
                "description": "Roles: shop.",
                "security": [{"key": []}],
                "parameters": [KEY, {"name": "Prefer", "in": "header", "required": False, "schema": {}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Deposit"}}}},
                "responses": {
                    "202": OK,
                    "422": {"description": "Wrong", "content": {"application/problem+json": {}}},
                    "400": {"description": "Unreadable", "content": {"application/problem+json": {}}},
                },
            }
        },
        "/api/payments/{id}": {
            "get": {
                "tags": ["API"],
                "operationId": "get_payment",
                "summary": "Read",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"format": "uuid"}},
                    {"name": "wait", "in": "query", "required": False, "schema": {"type": "integer"}},
                ],
                "responses": {"200": OK},
            }
        },
    },
    "components": {
        "schemas": {
            "Deposit": {
                "properties": {
                    "amount": {"type": "string", "examples": ["25.00"]},
                    "kind": {"enum": ["a", "b"]},
                    "provider_id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            },
        },
    },
}


def words_in_a_shell(command: str) -> list[str]:
    """Return the arguments that curl would get from a shell with the key in its environment."""
    script = "curl() { printf '%s\\0' \"$@\"; }\n" + command
    done = subprocess.run(["sh", "-c", script], env={"SLUICE_KEY": "sk_1"}, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\0").split("\0")


def entries(read: ExampleCall | None = None) -> dict[str, list[RouteEntry]]:
    calls = {} if read is None else {("GET", "/api/payments/{id}"): read}
    return list_routes(SPEC, "https://pay.example", calls)


def test_routes_are_grouped_by_tag() -> None:
    groups = {tag: [(entry.method, entry.path) for entry in found] for tag, found in entries().items()}
    assert groups == {"Payments": [("POST", "/api/payments/deposit")], "API": [("GET", "/api/payments/{id}")]}
    deposit = entries()["Payments"][0]
    assert (deposit.anchor, deposit.summary, deposit.roles) == ("post_deposit", "Ask", "Roles: shop.")
    assert deposit.statuses == ("202", "422", "400")


def test_the_curl_call_has_what_is_required_and_survives_a_shell() -> None:
    assert words_in_a_shell(entries()["Payments"][0].example) == [
        *("-X", "POST", "https://pay.example/api/payments/deposit"),
        *("-H", "Authorization: Bearer sk_1"),
        *("-H", "Idempotency-Key: it's mine"),
        *("-H", "Content-Type: application/json"),
        *("-d", '{"amount": "25.00", "kind": "a"}'),
    ]


def test_a_call_without_credential_or_body_leaves_them_out() -> None:
    example = entries()["API"][0].example
    assert words_in_a_shell(example) == ["https://pay.example/api/payments/01890a5d-ac96-774b-bcce-b302099a8057"]


def test_an_example_may_have_values_and_lines_of_its_own() -> None:
    call = ExampleCall(before="P=7", values={"id": "$P", "wait": "0"})
    assert words_in_a_shell(entries(call)["API"][0].example) == ["https://pay.example/api/payments/7?wait=0"]


def test_problems_are_listed_once_and_sorted() -> None:
    assert list(list_problems(SPEC).items()) == [("400", "Unreadable"), ("422", "Wrong")]


@pytest.mark.parametrize("home", [None, "elsewhere"])
def test_the_line_that_sets_the_key_reads_it_from_the_demo_file(tmp_path: Path, home: str | None) -> None:
    folder = tmp_path / (home or ".sluice")
    folder.mkdir()
    names = [field.name for field in dataclasses.fields(DemoTenant)]
    demo = DemoTenant(**{name: f"value of {name}" for name in names})
    (folder / "demo.json").write_text(json.dumps(dataclasses.asdict(demo), indent=2), encoding="utf-8")
    template = (WEB / "templates" / "docs.html").read_text(encoding="utf-8")
    found = re.search(r'aria-label="Set the key"><code>(.*?)</code>', template)
    assert found is not None
    done = subprocess.run(
        ["sh", "-c", f'{html.unescape(found[1])}; printf %s "$SLUICE_KEY"'],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"} | ({"SLUICE_HOME": home} if home else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "value of secret_key"


def test_the_vendored_viewer_is_the_file_whose_hash_is_written_down() -> None:
    folder = WEB / "static" / "reference"
    expected, name = (folder / "SHA256SUMS").read_text(encoding="utf-8").split()
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    assert 'Version: "2.5.4"' in (folder / f"{name}.LICENSE.txt").read_text(encoding="utf-8")
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
