"""Secret keys as the API shows them: never the secret or its hash."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from app.web.schemas.payments import Time, UuidText


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


class KeyList(BaseModel):
    """A tenant's keys, oldest first, those that ended included."""

    data: list[Key]
