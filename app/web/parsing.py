"""Reads requests as the table of routes declares them, and hands the validated objects to the handlers."""

from __future__ import annotations

import functools
import re
import typing
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError

from app.core.errors import RequestRejected
from app.core.strict_json import loads
from app.web.errors import field_errors
from app.web.operations import BY_ROUTE, Operation
from app.web.schemas.parameters import Parameters

# A deposit with fifty full metadata pairs and two long URLs has some 325 KB where each character is an escaped pair of
# surrogates (12 bytes).
API_BODY_BYTES_MAX = 384 * 1024

Body = TypeVar("Body", bound=BaseModel)
Values = TypeVar("Values", bound=Parameters)
Handler = Callable[..., ResponseReturnValue]


def handles(blueprint: Blueprint, method: str, rule: str) -> Callable[[Handler], Handler]:
    """Register a handler of a route in the table.

    It is called with what the table declares for the route, validated: `query`, `headers` and `body`; and with what is
    in the path, `id` as a UUID. Raise RuntimeError where the handler is annotated with other models than the table's.
    """
    operation = BY_ROUTE[method, rule]
    declared = {"query": operation.query, "headers": operation.headers, "body": operation.body}

    def register(handler: Handler) -> Handler:
        annotated = typing.get_type_hints(handler)
        if any(annotated.get(name) is not model for name, model in declared.items()):
            raise RuntimeError(f"{method} {rule}: the handler takes other models than the table of routes declares")

        @functools.wraps(handler)
        def view(**path: str) -> ResponseReturnValue:
            return handler(**_read_path(path), **_read_declared(operation))

        blueprint.add_url_rule(re.sub(r"{(\w+)}", _write_converter, rule), view_func=view, methods=[method])
        return view

    return register


def _write_converter(match: re.Match[str]) -> str:
    """Return a parameter of the path as Flask's router spells it."""
    return "<object:id>" if match[1] == "id" else f"<{match[1]}>"


def _read_path(path: dict[str, str]) -> dict[str, Any]:
    return {name: _read_path_id(value) if name == "id" else value for name, value in path.items()}


def _read_declared(operation: Operation) -> dict[str, BaseModel]:
    read: dict[str, BaseModel] = {}
    if operation.query is not None:
        read["query"] = read_query(operation.query)
    if operation.headers is not None:
        read["headers"] = read_headers(operation.headers)
    if operation.body is not None:
        read["body"] = (read_optional_body if operation.body_is_optional else read_body)(operation.body)
    return read


def field_error(field: str, message: str, status: int = 422) -> RequestRejected:
    """Return the error that names one field."""
    return RequestRejected(status, "The request has errors.", [{"field": field, "message": message}])


def read_query(model: type[Values]) -> Values:
    """Return the query. Raise RequestRejected (422), also for a parameter that the route does not take."""
    for name in request.args:
        # A misspelt filter must not widen a list.
        if name not in model.model_fields:
            raise field_error(name, "is not a parameter of this route")
    return _validate_first(model, request.args.to_dict(flat=False), 422)


def read_headers(model: type[Values]) -> Values:
    """Return the headers; one that is missing counts as empty. Raise RequestRejected (400)."""
    names = [str(field.alias) for field in model.model_fields.values()]
    return _validate_first(model, {name: [request.headers.get(name, "")] for name in names}, 400)


def _validate_first(model: type[Values], values: dict[str, list[str]], status: int) -> Values:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestRejected(status, "The request has errors.", field_errors(error)[:1]) from None


def read_body(model: type[Body]) -> Body:
    """Return the JSON body as `model`. Raise JsonError (400), RequestRejected (413, 415), ValidationError (422)."""
    _check_media_type()
    return model.model_validate(loads(read_bounded(API_BODY_BYTES_MAX)))


def read_optional_body(model: type[Body]) -> Body:
    """Return the JSON body as `model`, all defaults where there is no body. Raise as `read_body`."""
    raw = read_bounded(API_BODY_BYTES_MAX)
    if not raw:
        return model()
    _check_media_type()
    return model.model_validate(loads(raw))


def _check_media_type() -> None:
    if request.mimetype != "application/json":
        raise RequestRejected(415, "The body must be application/json.")


def read_bounded(bytes_max: int) -> bytes:
    """Return the raw body. Raise RequestRejected (413) for one that is longer, whether it says so or not."""
    # One byte more than allowed is enough to know; a length that was announced is not believed.
    raw = request.stream.read(bytes_max + 1) if (request.content_length or 0) <= bytes_max else None
    if raw is None or len(raw) > bytes_max:
        raise RequestRejected(413, f"A body has at most {bytes_max} bytes here.")
    return raw


def _read_path_id(value: str) -> uuid.UUID:
    """Return an id from the path; any other text names an object that does not exist."""
    try:
        return uuid.UUID(value)
    except ValueError:
        raise RequestRejected(404, "There is no such object.") from None
