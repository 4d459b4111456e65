"""What calls that move money have in common: one effect for each idempotency key, and its answer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from flask import Response, jsonify
from pydantic import BaseModel

from app.core.errors import RequestRejected
from app.runtime.runtime import runtime
from app.web.card_numbers import card_errors
from app.web.gate import caller


def refuse_card_numbers(body: BaseModel, *others: str) -> None:
    """Raise RequestRejected (422) where the body or one of `others` has a card's number."""
    if errors := card_errors(runtime(), caller().tenant_id, body.model_dump(), *others):
        raise RequestRejected(422, "The request has errors.", errors)


def hash_request(body: BaseModel, **path: str) -> bytes:
    """Return the hash by which a repeated key with another request is refused; `path` are values of its path."""
    return hashlib.sha256(json.dumps({**body.model_dump(), **path}, sort_keys=True).encode()).digest()


def answer_made(made: dict[str, Any], status: int, collection: str, *, is_replayed: bool) -> Response:
    """Return the answer that has made what is below the path `collection`, or had made it before."""
    response = jsonify(made)
    response.status_code = status
    response.headers["Location"] = f"{collection}/{made['id']}"
    if is_replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
