"""Reads requests as the table of routes declares them, and passes the validated objects to the handlers.

The order of the checks is the same for every route: authentication (app.web.gate), unknown query parameters (422), the
path (404), the values of the query (422), the headers (400), the body.
"""

from __future__ import annotations

import functools
import re
import typing
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError

from app.core.errors import RequestRejected
from app.core.strict_json import loads
from app.http.request_heads import environ_key
from app.services.access.callers import USER_ID
from app.web.errors import field_errors
from app.web.gate import caller
from app.web.operations import BY_ROUTE, Operation
from app.web.schemas.parameters import Parameters

# A deposit with fifty full metadata pairs and two long URLs has some 325 KB where each character is an escaped pair of
# surrogates (12 bytes).
API_BODY_BYTES_MAX = 384 * 1024

JSON = "application/json"

Handler = Callable[..., ResponseReturnValue]


def handles(blueprint: Blueprint, method: str, rule: str) -> Callable[[Handler], Handler]:
    """Register a handler of a route in the table.

    It is called with the models that the table declares, validated: `query`, `headers` and `body`; and with the
    parameters of the path, `id` as a UUID, `user_id` as a user whom the caller may act for. Raise RuntimeError where
    the handler is annotated with other models than the table's.
    """
    operation = BY_ROUTE[method, rule]
    declared = {"query": operation.query, "headers": operation.headers, "body": operation.body}

    def register(handler: Handler) -> Handler:
        annotated = typing.get_type_hints(handler)
        if any(annotated.get(name) is not model for name, model in declared.items()):
            raise RuntimeError(f"{method} {rule}: the handler takes other models than the table of routes declares")

        @functools.wraps(handler)
        def view(**path: str) -> ResponseReturnValue:
            if operation.query is not None:
                refuse_unknown(operation.query)
            found = {name: _PATH_READERS[name](value) for name, value in path.items()}
            return handler(**found, **_read_declared(operation))

        blueprint.add_url_rule(re.sub(r"{(\w+)}", _write_converter, rule), view_func=view, methods=[method])
        return view

    return register


def _write_converter(match: re.Match[str]) -> str:
    """Return a parameter of the path as Flask's router spells it."""
    return "<object:id>" if match[1] == "id" else f"<{match[1]}>"


def _read_declared(operation: Operation) -> dict[str, BaseModel]:
    read: dict[str, BaseModel] = {}
    if operation.query is not None:
        read["query"] = _validate_first(operation.query, request.args.to_dict(flat=False), 422)
    if operation.headers is not None:
        # A missing header counts as empty.
        environ = request.environ
        names = [str(field.alias) for field in operation.headers.model_fields.values()]
        given = {name: [environ.get(environ_key(name), "")] for name in names}
        read["headers"] = _validate_first(operation.headers, given, 400)
    if operation.body is not None:
        read["body"] = read_body(operation.body, is_optional=operation.body_is_optional)
    return read


def field_error(field: str, message: str) -> RequestRejected:
    """Return the error (422) that names one field."""
    return RequestRejected(422, "The request has errors.", [{"field": field, "message": message}])


def refuse_unknown(model: type[Parameters]) -> None:
    """Raise RequestRejected (422) for a query parameter that is not in `model`: a misspelt filter widens a list."""
    for name in request.args:
        if name not in model.model_fields:
            raise field_error(name, "is not a parameter of this route")


def _validate_first(model: type[Parameters], values: dict[str, list[str]], status: int) -> Parameters:
    """Return `values` as `model`. Raise RequestRejected with the first error alone."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        code = "header_invalid" if status == HTTPStatus.BAD_REQUEST else None
        raise RequestRejected(status, "The request has errors.", field_errors(error)[:1], code) from None


def read_body(model: type[BaseModel], *, is_optional: bool) -> BaseModel:
    """Return the JSON body as `model`; the model's defaults where an optional body is missing.

    Raise JsonError (400), RequestRejected (413, 415), ValidationError (422).
    """
    # An optional body is read first: a request without one names no media type.
    raw = read_bounded(API_BODY_BYTES_MAX) if is_optional else None
    if raw == b"":
        return model()
    if not is_json():
        raise RequestRejected(415, "The body must be application/json.")
    return model.model_validate(loads(read_bounded(API_BODY_BYTES_MAX) if raw is None else raw))


def read_bounded(bytes_max: int) -> bytes:
    """Return the raw body. Raise RequestRejected (413) for one that is longer, whether it says so or not."""
    environ = request.environ
    announced = int(environ.get("CONTENT_LENGTH") or 0)
    # One byte more than allowed is enough to know; a length that was announced is not believed.
    raw: bytes = b"" if announced > bytes_max else environ["wsgi.input"].read(bytes_max + 1)
    if max(announced, len(raw)) > bytes_max:
        raise RequestRejected(413, f"A body has at most {bytes_max} bytes here.")
    return raw


def is_json() -> bool:
    """Return whether the body is said to be JSON; whatever charset is named, JSON is UTF-8."""
    return request.environ.get("CONTENT_TYPE") == JSON or request.mimetype == JSON


def _read_id(value: str) -> uuid.UUID:
    """Return an id from the path; any other text names an object that does not exist."""
    try:
        return uuid.UUID(value)
    except ValueError:
        raise RequestRejected(404, "There is no such object.") from None


def _read_own_user(user_id: str) -> str:
    """Return a user from the path; for a client token, users other than its own do not exist."""
    if not USER_ID.fullmatch(user_id) or caller().user_id not in (None, user_id):
        raise RequestRejected(404, "There is no such user.")
    return user_id


_PATH_READERS: dict[str, Callable[[str], Any]] = {"id": _read_id, "user_id": _read_own_user}
