"""What a webhook says, as its adapter translates it: facts, hints that there is news, and what is of no interest."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.errors import Unusable
from app.core.facts import Fact
from app.core.strict_json import JsonError, loads

# The paths of webhooks in a provider's own form (`/webhooks/{provider_id}`) and of notifications that nobody signed, as
# Delivered has them.
PROVIDER_PATH = "provider"
POKE_PATH = "poke"


@dataclass(frozen=True, slots=True)
class Delivered:
    """A verified webhook: the path that it came to, its raw bytes, and the kept headers by lower-case names."""

    path: str
    body: bytes
    headers: Mapping[str, Any]

    def read_object(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raise Unusable."""
        try:
            body = loads(self.body)
        except JsonError as error:
            raise Unusable(str(error)) from None
        if not isinstance(body, dict):
            raise Unusable("the body is no object")
        return body


# A payment by our id, or by an id of the provider's: its reference, or another object's that belongs to it (an alias).
Name = uuid.UUID | str


@dataclass(frozen=True, slots=True)
class Told:
    """A fact about the payment `name`.

    `event_id` is the provider's id of the event, where one delivery carries many or one event comes in many. `is_live`:
    whether it is about real money, None where the provider does not say. `may_be_foreign`: whether the name may be one
    of a payment that we have nothing to do with, since the event does not have our id.
    """

    name: Name
    fact: Fact
    event_id: str | None = None
    is_live: bool | None = None
    may_be_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Asks:
    """A hint that the payment `name` has changed: only the provider's answer to our own query is a fact."""

    name: Name
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that is not about a payment of ours, or of no interest; `reason` is for operators."""

    reason: str
    event_id: str | None = None


Event = Told | Asks | Ignored
