"""Reads what requests of emulated providers have in common: basic authentication, forms, and what a key stands for."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from sandbox.protocols.protocol import FORM
from sandbox.values.refusal import Refusal

_BASIC = "basic "


def read_basic(headers: Mapping[str, str]) -> str | None:
    """Return `user:password` of basic authentication, None without it."""
    authorization = headers.get("Authorization", "")
    if authorization[: len(_BASIC)].lower() != _BASIC:
        return None
    try:
        return base64.b64decode(authorization[len(_BASIC) :], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def read_form(raw: bytes) -> dict[str, Any]:
    """Read a form whose names nest by brackets: `a[b][0]=c` is `{"a": {"b": {"0": "c"}}}`. Raise Refusal 400."""
    fields: dict[str, Any] = {}
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise Refusal(400, "invalid_form", "the body must be a form") from None
    for name, value in pairs:
        target, (*way, last) = fields, name.replace("]", "").split("[")
        for step in way:
            target = target.setdefault(step, {})
            if not isinstance(target, dict):
                raise Refusal(400, "invalid_form", f"{name} is both a text and a list")
        target[last] = value
    return fields


def fingerprint(path: str, raw: bytes, content_type: str) -> bytes:
    """Return what two calls with one idempotency key must have in common: the path and the parameters."""
    if content_type.startswith(FORM):
        raw = json.dumps(sorted(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))).encode()
    return path.encode() + b"\n" + raw
