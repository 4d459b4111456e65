"""Checks `Origin`, which says whether a page may call web and sockets, and sets the CORS headers of answers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from flask import Response

from app.core.validation.origins import normalise_origin, read_origin

# How long a browser may reuse a preflight's answer; origins are changed by hand.
PREFLIGHT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins of Sluice's own pages, and `is_tenants`: whether any tenant allows a normalised origin."""

    own: frozenset[str]
    is_tenants: Callable[[str], bool]

    def may_call(self, origin: str, allowed: Collection[str]) -> bool:
        """Return whether pages of `origin` are Sluice's own or among the tenant's `allowed` ones."""
        normalised = normalise_origin(origin)
        return normalised in self.own or normalised in allowed

    def is_known(self, origin: str) -> bool:
        """Return whether pages of `origin` are Sluice's own or any tenant's. Raise what `is_tenants` raises."""
        normalised = normalise_origin(origin)
        return normalised in self.own or self.is_tenants(normalised)


def own_origin(url: str) -> str:
    """Return the origin of Sluice's own pages at `url`."""
    return read_origin(url) or normalise_origin(url)


def answer_preflight(methods: str, headers: str) -> Response:
    """Return the answer to a preflight of a known origin."""
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = methods
    response.headers["Access-Control-Allow-Headers"] = headers
    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    return response


def let_read(response: Response, origin: str) -> None:
    """Let pages of `origin` read the answer; never with cookies."""
    response.headers["Access-Control-Allow-Origin"] = origin
