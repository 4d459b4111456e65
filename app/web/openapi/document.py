"""The OpenAPI 3.1 document, made from the table of routes."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.web.openapi.field_descriptions import describe_fields
from app.web.openapi.outgoing import describe_streams, describe_webhooks
from app.web.operations import OPERATIONS, Operation
from app.web.roles import PUBLIC
from app.web.schemas.answers import Event, Problem
from app.web.schemas.parameters import Parameters
from app.web.schemas.values import USER_ID_PATTERN

_SCHEMAS = "#/components/schemas/"
_TITLES = {
    400: "The request cannot be read",
    401: "No valid credential",
    403: "Not allowed",
    404: "Not there, or not yours",
    409: "The state does not allow it",
    413: "Too large",
    415: "Not JSON",
    422: "A field is wrong",
    429: "Too many requests",
    503: "Try again later",
}
_PATH_DESCRIPTIONS = {"id": "Its id.", "provider_id": "The provider that sends it.", "user_id": "The tenant's user."}
_SECURITY: list[dict[str, list[str]]] = [{"secret-key-or-client-token": []}]
_TAGS = {
    "Payments": "Deposits and what became of them.",
    "Refunds": "Money that goes back to its payer.",
    "Providers": "The payment providers of a tenant.",
    "Wallets": "What users have.",
    "Debits": "What users spend.",
    "Events": "What happened, to be read in order.",
    "Streams": "The same events as they come.",
    "Access": "Secret keys, and credentials of browsers.",
    "Webhook endpoints": "URLs of the tenant to which its events are sent.",
    "Deliveries": "What is sent there.",
    "Dead letters": "Work that needs a person.",
    "Webhooks": "What providers send.",
    "Watching": "Health and metrics.",
}
# The headers of answers by name: what they say, and the statuses that have them; none: every answer.
_HEADERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "X-Request-Id": ("The request's own, or one that was made for it.", ()),
    "Retry-After": ("Seconds until another try makes sense.", (429, 503)),
    "WWW-Authenticate": ("`Bearer`.", (401,)),
    "Location": ("The path of what was made.", (201, 202)),
    "Idempotent-Replayed": ("`true` where an earlier request with this key made it.", (201, 202)),
    "Preference-Applied": ("How long the request could wait, as `wait=N`.", (201, 202)),
}
# Those of requests with an idempotency key, or with a `Prefer`, alone.
_OF_REQUEST_HEADER = {"Location": "Idempotency-Key", "Idempotent-Replayed": "Idempotency-Key"}
_OF_REQUEST_HEADER["Preference-Applied"] = "Prefer"
_PATH_SCHEMAS = {
    "id": {"type": "string", "format": "uuid"},
    "provider_id": {"type": "string", "format": "uuid"},
    "user_id": {"type": "string", "pattern": USER_ID_PATTERN, "examples": ["user_42"]},
}


@functools.cache
def document() -> dict[str, Any]:
    """Return the document; the same object every time, not to be changed."""
    models = {model for operation in OPERATIONS for model in (*operation.answers.values(), operation.body) if model}
    models |= {Problem, Event}
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_SCHEMAS + "{model}",
    )
    schemas = _name_by_title(definitions["$defs"])
    for schema in schemas.values():
        _forget_null_defaults(schema)
    describe_fields(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.rule, {})[operation.method.lower()] = _describe(operation)
    paths |= describe_streams(_SECURITY)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": version("sluice"),
            "description": "Deposits: asked for, paid at an external provider, credited exactly once, reported live.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # The origin that served the document.
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "webhooks": describe_webhooks(),
        "components": {
            "schemas": schemas,
            "headers": {
                name: {"description": text, "schema": {"type": "string"}} for name, (text, _) in _HEADERS.items()
            },
            "securitySchemes": {
                "secret-key-or-client-token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A secret key (`sk_...`) of the tenant's backend, or a client token (`ct_...`).",
                }
            },
        },
    }


def _name_by_title(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas under their titles; a class has another name where the title names other classes too."""
    titles = {name: schema["title"] for name, schema in schemas.items()}
    renamed = re.sub(rf"(?<={_SCHEMAS})\w+", lambda name: titles[name[0]], json.dumps(schemas))
    return dict(sorted((titles[name], schema) for name, schema in json.loads(renamed).items()))


def _refer(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _SCHEMAS + (model.model_config.get("title") or model.__name__)}


def _forget_null_defaults(schema: dict[str, Any]) -> None:
    """Remove `default: null`: generators of clients take a field with a default as one that is always there."""
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.method.lower() + re.sub(r"[^a-z]+", "_", operation.rule),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": _PATH_DESCRIPTIONS[name],
                "schema": _PATH_SCHEMAS[name],
            }
            for name in re.findall(r"{(\w+)}", operation.rule)
        ]
        + [*_list_parameters(operation.query, "query"), *_list_parameters(operation.headers, "header")],
        "responses": {str(status): _answer(status, model) for status, model in operation.answers.items()},
    }
    described["security"] = [] if operation.roles is PUBLIC else _SECURITY
    roles = "anyone, without a credential" if operation.roles is PUBLIC else ", ".join(sorted(operation.roles))
    described["description"] = f"Roles: {roles}."
    for status in sorted(_find_problems(operation) - operation.answers.keys()):
        described["responses"][str(status)] = _answer(status, Problem, "application/problem+json")
    if operation.body:
        described["requestBody"] = {
            "required": not operation.body_is_optional,
            "content": {"application/json": {"schema": _refer(operation.body)}},
        }
    request_headers = {parameter["name"] for parameter in described["parameters"] if parameter["in"] == "header"}
    for status, response in described["responses"].items():
        response["headers"] = _list_headers(int(status), request_headers)
    return described


def _list_headers(status: int, request_headers: set[str]) -> dict[str, Any]:
    """Return references to the headers that an answer of `status` to such a request may have."""
    return {
        name: {"$ref": f"#/components/headers/{name}"}
        for name, (_, statuses) in _HEADERS.items()
        if (not statuses or status in statuses) and _OF_REQUEST_HEADER.get(name, "") in {"", *request_headers}
    }


def _find_problems(operation: Operation) -> set[int]:
    """Return the statuses of problems: those of the operation, and those that follow from its parameters and body."""
    problems = {*operation.problems, 503}
    if operation.roles is PUBLIC:
        return problems
    return problems.union(
        (401, 403, 429),
        (404,) if "{id}" in operation.rule else (),
        (422,) if operation.query else (),
        (400,) if operation.headers else (),
        (400, 413, 415, 422) if operation.body else (),
    )


def _list_parameters(model: type[Parameters] | None, location: str) -> Iterator[dict[str, Any]]:
    schema = {} if model is None else model.model_json_schema()
    _forget_null_defaults(schema)
    for name, field in schema.get("properties", {}).items():
        del field["title"]
        yield {
            "name": name,
            "in": location,
            "required": name in schema.get("required", ()),
            "description": field.pop("description"),
            "schema": field,
        }


def _answer(status: int, model: type[BaseModel] | None, media_type: str = "application/json") -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _TITLES.get(status, "Done")}
    if model is not None:
        answer["content"] = {media_type: {"schema": _refer(model)}}
    return answer
