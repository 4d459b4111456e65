"""The OpenAPI document as what the readable reference shows. Plain values in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.web.openapi.example_calls import SIGNED_PREFIX, Call, write_curl, write_message

Spec = Mapping[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
# Bodies refer to schemas that refer to schemas; an example deeper than this is no longer read by anybody.
MAX_EXAMPLE_DEPTH = 5
# All states fit; the list of all currencies would bury the table that it stands in.
MAX_SHOWN_VALUES = 12
EXAMPLES_BY_TYPE: Mapping[str, Any] = {"string": "string", "integer": 1, "number": 1.5, "boolean": True, "null": None}

EXAMPLES_BY_FORMAT: Mapping[str, str] = {
    "date-time": "2026-01-31T12:00:00.000000Z",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
    "uri": "https://shop.example/paid",
}


@dataclass(frozen=True)
class Field:
    """One parameter or property; `place` is where a parameter goes (path, query, header), `schema` a schema's name."""

    name: str
    place: str
    type: str
    schema: str | None
    required: bool
    description: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """One possible answer of an operation; `example` is JSON text or empty."""

    status: str
    description: str
    content_type: str
    schema: str | None
    headers: tuple[str, ...]
    example: str


@dataclass(frozen=True)
class Operation:
    """One call of the API, ready to be shown."""

    anchor: str
    tag: str
    method: str
    path: str
    summary: str
    description: str
    credentials: tuple[str, ...]
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    body_schema: str | None
    curl: str
    answers: tuple[Answer, ...]


def list_operations(
    spec: Spec, base_url: str, calls: Mapping[tuple[str, str], Call] | None = None
) -> dict[str, list[Operation]]:
    """Return the operations by tag, both in the order of the document; `calls` says what examples need beside it."""
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in spec.get("tags", [])}
    for path, item in spec.get("paths", {}).items():
        for method in filter(item.__contains__, METHODS):
            call = (calls or {}).get((method.upper(), path), Call())
            operation = _operation(spec, base_url, path, method, item, call)
            groups.setdefault(operation.tag, []).append(operation)
    return {tag: operations for tag, operations in groups.items() if operations}


def list_schemas(spec: Spec) -> list[tuple[str, str, tuple[Field, ...], str]]:
    """Return the named schemas as (name, description, fields, type); the type is for those without fields."""
    schemas = spec.get("components", {}).get("schemas", {})
    return [
        (name, schema.get("description", ""), tuple(_fields(spec, schema)), _type(schema))
        for name, schema in schemas.items()
    ]


def _operation(spec: Spec, base_url: str, path: str, method: str, item: Spec, call: Call) -> Operation:
    raw = item[method]
    parameters = [_resolve(spec, one) for one in [*item.get("parameters", []), *raw.get("parameters", [])]]
    body = _resolve(spec, raw.get("requestBody", {}))
    schema = _first_media(body)[1].get("schema", {})
    return Operation(
        anchor=raw.get("operationId") or f"{method}-{path}",
        tag=(raw.get("tags") or ["API"])[0],
        method=method.upper(),
        path=path,
        summary=raw.get("summary", ""),
        description=raw.get("description", ""),
        credentials=tuple(name for need in raw.get("security", spec.get("security", [])) for name in need),
        parameters=tuple(_parameter(one) for one in parameters),
        body=tuple(_fields(spec, schema)),
        body_schema=_schema_name(schema),
        curl=_call(spec, call, base_url, path, method, raw, parameters),
        answers=tuple(_answers(spec, raw.get("responses", {}))),
    )


def _parameter(parameter: Spec) -> Field:
    schema = parameter.get("schema", {})
    return Field(
        name=parameter["name"],
        place=parameter["in"],
        type=_type(schema),
        schema=_schema_name(schema),
        required=parameter.get("required", False),
        description=parameter.get("description") or schema.get("description", ""),
        limits=tuple(_limits(schema)),
    )


def _fields(spec: Spec, schema: Spec) -> Iterator[Field]:
    schema = _resolve(spec, schema)
    for part in schema.get("allOf", []):
        yield from _fields(spec, part)
    for name, raw in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        description = raw.get("description", "")
        yield Field(name, "", _type(raw), _schema_name(raw), required, description, tuple(_limits(raw)))


def _answers(spec: Spec, responses: Spec) -> Iterator[Answer]:
    for status, raw in responses.items():
        response = _resolve(spec, raw)
        content_type, media = _first_media(response)
        example = _media_example(spec, media) if media and status.startswith("2") else None
        yield Answer(
            status=status,
            description=response.get("description", ""),
            content_type=content_type,
            schema=_schema_name(media.get("schema", {})),
            headers=tuple(response.get("headers", {})),
            example=json.dumps(example, indent=2, ensure_ascii=False) if isinstance(example, (dict, list)) else "",
        )


def _first_media(body: Spec) -> tuple[str, Spec]:
    for content_type, media in body.get("content", {}).items():
        return content_type, media
    return "", {}


def _resolve(spec: Spec, value: Spec) -> Spec:
    """Follow local references (`#/...`); the document holds no others."""
    while "$ref" in value:
        target: Any = spec
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def _choices(schema: Spec) -> list[Spec]:
    return [*schema.get("anyOf", []), *schema.get("oneOf", [])]


def _type(schema: Spec) -> str:
    """Name a schema's type in a few words: `Payment`, `list of Entry`, `string (date-time) or null`."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if choices := _choices(schema):
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if len(schema.get("allOf", [])) == 1:
        return _type(schema["allOf"][0])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return _enumeration(["null" if value is None else str(value) for value in schema["enum"]])
    declared = schema.get("type", "any")
    names = [_named_type(name, schema) for name in ([declared] if isinstance(declared, str) else declared)]
    return " or ".join(names)


def _enumeration(values: list[str]) -> str:
    if len(values) <= MAX_SHOWN_VALUES:
        return " | ".join(values)
    return f"{' | '.join(values[:3])} | … ({len(values)} values, all in openapi.json)"


def _named_type(name: str, schema: Spec) -> str:
    if name == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return f"{name} ({schema['format']})" if "format" in schema and name != "null" else name


def _schema_name(schema: Spec) -> str | None:
    """The named schema that a type points at, through lists and alternatives, to link to it."""
    if "$ref" in schema:
        name = str(schema["$ref"])
        return name.rsplit("/", 1)[-1] if name.startswith("#/components/schemas/") else None
    for inner in [*_choices(schema), *schema.get("allOf", []), schema.get("items", {})]:
        if isinstance(inner, Mapping) and inner and (found := _schema_name(inner)):
            return found
    return None


def _limits(schema: Spec) -> Iterator[str]:
    words = {
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minimum": "from {}",
        "maximum": "up to {}",
        "maxItems": "at most {} items",
        "maxProperties": "at most {} pairs",
        "pattern": "matches {}",
        "default": "default {}",
    }
    for key, text in words.items():
        if schema.get(key) is not None:
            yield text.format(schema[key])


def _example(spec: Spec, schema: Spec, depth: int = 0) -> Any:
    """Make up a value that fits the schema, from its own examples where it has some."""
    schema = _resolve(spec, schema)
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if choices := _choices(schema):
        # What may be null is null at first, as most such fields of a new payment are.
        return None if {"type": "null"} in choices else _example(spec, choices[0], depth)
    return _example_by_type(spec, schema, depth)


def _example_by_type(spec: Spec, schema: Spec, depth: int) -> Any:
    declared = schema.get("type", "object" if "properties" in schema or "allOf" in schema else "string")
    name = declared if isinstance(declared, str) else declared[0]
    if name == "array":
        return [] if depth >= MAX_EXAMPLE_DEPTH else [_example(spec, schema.get("items", {}), depth + 1)]
    if name == "object":
        if depth >= MAX_EXAMPLE_DEPTH:
            return {}
        merged: dict[str, Any] = {}
        for part in schema.get("allOf", []):
            merged |= _example(spec, part, depth)
        values = {key: _example(spec, raw, depth + 1) for key, raw in schema.get("properties", {}).items()}
        # What may be left out and has nothing to show is left out.
        required = schema.get("required", ())
        return merged | {key: value for key, value in values.items() if value is not None or key in required}
    return EXAMPLES_BY_FORMAT.get(schema.get("format", ""), EXAMPLES_BY_TYPE.get(name))


def _media_example(spec: Spec, media: Spec) -> Any:
    if "example" in media:
        return media["example"]
    for named in media.get("examples", {}).values():
        return _resolve(spec, named).get("value")
    return _example(spec, media.get("schema", {}))


def _call(spec: Spec, call: Call, base_url: str, path: str, method: str, raw: Spec, parameters: list[Spec]) -> str:
    """The example call: a shell command that runs as it is pasted, or the message where it has to be signed."""
    content_type, media = _first_media(_resolve(spec, raw.get("requestBody", {})))
    body = _media_example(spec, media) if media else None
    if isinstance(body, dict):
        body |= call.body
    filled = _filled(spec, call, path, parameters)
    if path.startswith(SIGNED_PREFIX):
        return write_message(method, filled, body)
    headers = _headers(spec, call, raw, parameters) + ([f"Content-Type: {content_type}"] if content_type else [])
    return write_curl(call, method, base_url, filled, headers, body)


def _filled(spec: Spec, call: Call, path: str, parameters: list[Spec]) -> str:
    """The path with its parameters' examples; those without one keep their braces."""
    for parameter in parameters:
        name = parameter["name"]
        value = call.values.get(name) or _parameter_example(spec, parameter)
        if parameter["in"] == "path" and value != EXAMPLES_BY_TYPE["string"]:
            path = path.replace(f"{{{name}}}", value)
    query = [one["name"] for one in parameters if one["in"] == "query" and one["name"] in call.values]
    return path + ("?" + "&".join(f"{name}={call.values[name]}" for name in query) if query else "")


def _headers(spec: Spec, call: Call, raw: Spec, parameters: list[Spec]) -> list[str]:
    headers = [f"Authorization: Bearer {call.credential}"] if raw.get("security", spec.get("security", [])) else []
    needed = [one for one in parameters if one["in"] == "header" and one.get("required")]
    values = [call.values.get(one["name"]) or _parameter_example(spec, one) for one in needed]
    return headers + [f"{one['name']}: {value}" for one, value in zip(needed, values, strict=True)]


def _parameter_example(spec: Spec, parameter: Spec) -> str:
    return str(parameter.get("example", _example(spec, parameter.get("schema", {}))))
