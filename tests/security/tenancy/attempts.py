"""Requests of strangers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """A request of a stranger, and the same request for something that does not exist (its twin)."""

    path: str
    twin: str
    body: dict[str, Any] | None = None
    twin_body: dict[str, Any] | None = None
    query: str = ""
