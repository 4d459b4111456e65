"""The OpenAPI document as what the readable reference shows. Plain values in and out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def list_operations(spec: Spec, base_url: str) -> dict[str, list[Operation]]:
    """Returns the operations by tag, both in the order of the document."""
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in spec.get("tags", [])}
    for path, item in spec.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                operation = _operation(spec, base_url, path, method, item)
                groups.setdefault(operation.tag, []).append(operation)
    return {tag: operations for tag, operations in groups.items() if operations}


def list_schemas(spec: Spec) -> list[tuple[str, str, tuple[Field, ...], str]]:
    """Returns the named schemas as (name, description, fields, type); the type is for those without fields."""
    schemas = spec.get("components", {}).get("schemas", {})
    return [
        (name, schema.get("description", ""), tuple(_fields(spec, schema)), _type(schema))
        for name, schema in schemas.items()
    ]


def _operation(spec: Spec, base_url: str, path: str, method: str, item: Spec) -> Operation:
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
        curl=_curl(spec, method, f"{base_url}{_filled(spec, path, parameters)}", _headers(spec, raw, parameters), body),
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
    """Follows local references (`#/...`); the document holds no others."""
    while "$ref" in value:
        target: Any = spec
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def _choices(schema: Spec) -> list[Spec]:
    return [*schema.get("anyOf", []), *schema.get("oneOf", [])]


def _type(schema: Spec) -> str:
    """Names a schema's type in a few words: `Payment`, `list of Entry`, `string (date-time) or null`."""
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
    """Makes up a value that fits the schema, from its own examples where it has some."""
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


def _filled(spec: Spec, path: str, parameters: list[Spec]) -> str:
    """The path with its parameters' examples; those without one keep their braces."""
    for parameter in parameters:
        value = _parameter_example(spec, parameter)
        if parameter["in"] == "path" and value != EXAMPLES_BY_TYPE["string"]:
            path = path.replace(f"{{{parameter['name']}}}", value)
    return path


def _headers(spec: Spec, raw: Spec, parameters: list[Spec]) -> list[str]:
    headers = ["Authorization: Bearer $SLUICE_KEY"] if raw.get("security", spec.get("security", [])) else []
    needed = [one for one in parameters if one["in"] == "header" and one.get("required")]
    return headers + [f"{one['name']}: {_parameter_example(spec, one)}" for one in needed]


def _parameter_example(spec: Spec, parameter: Spec) -> str:
    return str(parameter.get("example", _example(spec, parameter.get("schema", {}))))


def _curl(spec: Spec, method: str, url: str, headers: list[str], body: Spec) -> str:
    """Writes the call as a shell command that can be pasted: what is required only, every word quoted."""
    content_type, media = _first_media(body)
    if content_type:
        headers = [*headers, f"Content-Type: {content_type}"]
    words = [f"curl {'' if method == 'get' else f'-X {method.upper()} '}{shlex.quote(url)}"]
    # Double quotes where the shell has to fill the key in, single quotes everywhere else.
    words += [f'-H "{line}"' if "$SLUICE_KEY" in line else f"-H {shlex.quote(line)}" for line in headers]
    if media:
        words.append(f"-d {shlex.quote(json.dumps(_media_example(spec, media), ensure_ascii=False))}")
    return " \\\n  ".join(words)
