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

from app.web.operations import OPERATIONS, Operation
from app.web.roles import PUBLIC
from app.web.schemas.answers import Problem
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
_PATH_SCHEMAS = {
    "id": {"type": "string", "format": "uuid"},
    "provider_id": {"type": "string", "format": "uuid"},
    "user_id": {"type": "string", "pattern": USER_ID_PATTERN, "examples": ["user_42"]},
}


@functools.cache
def document() -> dict[str, Any]:
    """Return the document; the same object every time, not to be changed."""
    models = {model for operation in OPERATIONS for model in (*operation.answers.values(), operation.body) if model}
    models.add(Problem)
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_SCHEMAS + "{model}",
    )
    schemas = _name_by_title(definitions["$defs"])
    for schema in schemas.values():
        _forget_null_defaults(schema)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.rule, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": version("sluice"),
            "description": "Deposits: asked for, paid at an external provider, credited exactly once, reported live.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
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
            {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
            for name in re.findall(r"{(\w+)}", operation.rule)
        ]
        + [*_list_parameters(operation.query, "query"), *_list_parameters(operation.headers, "header")],
        "responses": {str(status): _answer(status, model) for status, model in operation.answers.items()},
    }
    if operation.roles is not PUBLIC:
        described["security"] = [{"secret-key-or-client-token": []}]
        described["description"] = f"Roles: {', '.join(sorted(operation.roles))}."
    for status in sorted(_find_problems(operation) - operation.answers.keys()):
        described["responses"][str(status)] = _answer(status, Problem, "application/problem+json")
    if operation.body:
        described["requestBody"] = {
            "required": not operation.body_is_optional,
            "content": {"application/json": {"schema": _refer(operation.body)}},
        }
    return described


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
