"""The contents of the page /docs, from the OpenAPI document: routes, roles, example calls and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.web.openapi.example_calls import SIGNED_PREFIX, ExampleCall, write_curl, write_message

Spec = Mapping[str, Any]
EXAMPLE_UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


@dataclass(frozen=True)
class RouteEntry:
    """One route on the page; `statuses` are those of all its answers."""

    anchor: str
    method: str
    path: str
    summary: str
    roles: str
    example: str
    statuses: tuple[str, ...]


def list_routes(spec: Spec, base_url: str, calls: Mapping[tuple[str, str], ExampleCall]) -> dict[str, list[RouteEntry]]:
    """Return the routes by tag, both in the order of the document; `calls` extends it for the examples."""
    groups: dict[str, list[RouteEntry]] = {}
    for method, path, operation in _list_operations(spec):
        call = calls.get((method, path), ExampleCall())
        entry = RouteEntry(
            anchor=operation["operationId"],
            method=method,
            path=path,
            summary=operation["summary"],
            roles=operation.get("description", ""),
            example=_write_example(spec, call, base_url, method, path, operation),
            statuses=tuple(operation["responses"]),
        )
        groups.setdefault(operation["tags"][0], []).append(entry)
    return groups


def list_problems(spec: Spec) -> dict[str, str]:
    """Return the statuses of problem documents and their meanings, sorted."""
    found = {
        status: response["description"]
        for _, _, operation in _list_operations(spec)
        for status, response in operation["responses"].items()
        if "application/problem+json" in response.get("content", {})
    }
    return dict(sorted(found.items()))


def list_codes(spec: Spec) -> dict[str, str]:
    """Return the codes of problem documents and their meanings, in the order of the document."""
    description = spec["components"]["schemas"]["Problem"]["properties"]["code"]["description"]
    return dict(re.findall(r"^- `(\w+)`: (.+)$", description, re.MULTILINE))


def _list_operations(spec: Spec) -> Iterator[tuple[str, str, Spec]]:
    for path, item in spec["paths"].items():
        # Streams, which have servers of their own, have no end that an example could wait for.
        if "servers" not in item:
            for method, operation in item.items():
                yield method.upper(), path, operation


def _write_example(spec: Spec, call: ExampleCall, base_url: str, method: str, path: str, operation: Spec) -> str:
    """Return a shell command that runs as it is pasted; the request itself where it has to be signed."""
    values = {
        (one["in"], one["name"]): call.values.get(one["name"]) or _example(one["schema"])
        for one in operation["parameters"]
        if one["required"] or one["name"] in call.values
    }
    query = "&".join(f"{name}={value}" for (location, name), value in values.items() if location == "query")
    filled = path.format(**{name: value for (location, name), value in values.items() if location == "path"})
    filled += f"?{query}" if query else ""
    body = _example_body(spec, operation)
    body = None if body is None else {**body, **call.body}
    if path.startswith(SIGNED_PREFIX):
        return write_message(method, filled, body)
    headers = [f"Authorization: Bearer {call.credential}"] if operation.get("security") else []
    headers += [f"{name}: {value}" for (location, name), value in values.items() if location == "header"]
    return write_curl(call, method, base_url, filled, headers, body)


def _example_body(spec: Spec, operation: Spec) -> dict[str, Any] | None:
    """Return a body with the fields that have an example, or None where the route takes no body."""
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    fields = spec["components"]["schemas"][reference.rsplit("/", 1)[1]].get("properties", {})
    examples = {name: _example(field) for name, field in fields.items()}
    return {name: example for name, example in examples.items() if example is not None}


def _example(schema: Spec) -> Any:
    """Return a value that the schema names, or None."""
    for key in ("examples", "enum"):
        if key in schema:
            return schema[key][0]
    return EXAMPLE_UUID if schema.get("format") == "uuid" else None
