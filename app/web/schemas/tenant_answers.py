"""Bodies of answers about a tenant's keys, providers and the credentials of browsers, for the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.web.schemas.answers import RowList
from app.web.schemas.values import Time, UuidText


class ClientTokenBody(BaseModel, title="ClientToken"):
    """A client token of fifteen minutes."""

    token: str
    expires_at: Time
    sockets_url: str = Field(description="Base URL of /ws and /api/stream.")


class Ticket(BaseModel):
    """A single-use pass for one stream, thirty seconds long."""

    ticket: str
    expires_at: Time
    sockets_url: str


class Key(BaseModel):
    """A secret key; `last_used_at` is accurate to about a minute."""

    id: UuidText
    key: str
    role: Literal["admin", "operator", "shop", "read"]
    label: str
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None


class KeyList(RowList[Key]):
    """A tenant's keys, oldest first, those that ended included."""


class OwnProvider(BaseModel, title="Provider"):
    """A provider of the tenant. `paused`: it does not answer at present, and its deposits wait for it."""

    id: UuidText
    name: str
    adapter: str = Field(description="The kind of provider, such as stripe.", examples=["stripe"])
    currencies: list[str]
    status: Literal["ok", "paused", "disabled"]
    is_default: bool = Field(description="Whether deposits that name no provider go there.")


class ProviderList(RowList[OwnProvider]):
    """The tenant's providers, oldest first."""
