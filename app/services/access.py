"""Who is calling: secret keys, client tokens and socket tickets, looked up by their public part."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
import uuid
from dataclasses import dataclass

from sqlalchemy import RowMapping, text

from app.core.errors import RequestRejected
from app.runtime import Runtime
from models import Database, new_id

# 256 bits in the secret part; the public part finds the row and needs only to be unique.
_PUBLIC_BYTES = 12
_SECRET_BYTES = 32

CLIENT_TOKEN_SECONDS = 900
TICKET_SECONDS = 30

USER_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,128}", re.ASCII)
_CREDENTIAL = re.compile(r"(sk|ct)_([A-Za-z0-9-]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: a tenant's backend (`role` admin, operator or read) or one user's browser (client).

    `user_id`, `token_id` and `expires_at` are set for clients alone.
    """

    tenant_id: uuid.UUID
    key_id: uuid.UUID
    role: str
    allowed_origins: tuple[str, ...]
    requests_per_second: int | None = None
    user_id: str | None = None
    token_id: uuid.UUID | None = None
    expires_at: datetime.datetime | None = None

    @property
    def actor(self) -> str:
        """The caller as the audit names it."""
        return f"user:{self.user_id}" if self.user_id is not None else f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Credential:
    """A new credential: `plain` is shown once, the rest is stored."""

    plain: str
    public_part: str
    secret_sha256: bytes


def new_credential(prefix: str) -> Credential:
    """Returns a fresh `sk` or `ct` credential."""
    # base32-like without '_' and '.', so that the parts can be told apart.
    public_part = secrets.token_urlsafe(_PUBLIC_BYTES).replace("_", "-")
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return Credential(f"{prefix}_{public_part}.{secret}", public_part, hashlib.sha256(secret.encode()).digest())


def parse_credential(plain: str) -> Credential | None:
    """Returns the parts of a credential, or None where it has not the form of one."""
    match = _CREDENTIAL.fullmatch(plain)
    return match and Credential(plain, match.group(2), hashlib.sha256(match.group(3).encode()).digest())


def authenticate(database: Database, plain: str) -> Caller | None:
    """Returns the caller that the credential `plain` belongs to, or None where it is not good.

    Unknown, wrong, expired and revoked ones look alike, also in time: a hash is compared in any case.
    """
    credential = parse_credential(plain) or Credential("", "", b"")
    function = "door_find_token" if plain.startswith("ct_") else "door_find_key"
    with database.transaction("door") as connection:
        row = (
            connection.execute(
                text(f"select * from {function}(:public_part)"),  # noqa: S608  # one of two constants  # nosec B608
                {"public_part": credential.public_part},
            )
            .mappings()
            .first()
        )
    expected = bytes(row["secret_sha256"]) if row else b"\0" * 32
    fits = hmac.compare_digest(expected, credential.secret_sha256)
    return _caller(row) if row and fits else None


def _caller(row: RowMapping) -> Caller:
    return Caller(
        tenant_id=row["tenant_id"],
        key_id=row["key_id"],
        role=row.get("role") or "client",
        allowed_origins=tuple(row["allowed_origins"]),
        requests_per_second=row.get("requests_per_second"),
        user_id=row.get("user_id"),
        token_id=row.get("token_id"),
        expires_at=row.get("expires_at"),
    )


def create_client_token(
    runtime: Runtime, tenant_id: uuid.UUID, key_id: uuid.UUID, user_id: str
) -> tuple[str, datetime.datetime]:
    """Stores a client token of fifteen minutes for `user_id`; returns it and its end."""
    if not USER_ID.fullmatch(user_id):
        raise RequestRejected(
            422, "The request has errors.", [{"field": "user_id", "message": "must be 1-128 of [A-Za-z0-9_.:@-]"}]
        )
    credential = new_credential("ct")
    with runtime.database.transaction("web", tenant_id) as connection:
        expires_at = connection.execute(
            text(
                "insert into client_tokens (id, tenant_id, api_key_id, user_id, public_part, secret_sha256, expires_at)"
                " values (:id, :tenant_id, :key_id, :user_id, :public_part, :sha256,"
                " now() + make_interval(secs => :seconds)) returning now() + make_interval(secs => :seconds)"
            ),
            {
                "id": new_id(),
                "tenant_id": tenant_id,
                "key_id": key_id,
                "user_id": user_id,
                "public_part": credential.public_part,
                "sha256": credential.secret_sha256,
                "seconds": CLIENT_TOKEN_SECONDS,
            },
        ).scalar_one()
    return credential.plain, expires_at


def create_ticket(runtime: Runtime, caller: Caller) -> tuple[str, datetime.datetime]:
    """Stores a single-use ticket of thirty seconds for the client's next stream; returns it and its end."""
    ticket = secrets.token_urlsafe(_SECRET_BYTES)
    with runtime.database.transaction("web", caller.tenant_id) as connection:
        expires_at = connection.execute(
            text(
                "insert into socket_tickets (ticket_sha256, tenant_id, client_token_id, expires_at)"
                " values (:sha256, :tenant_id, :token_id, now() + make_interval(secs => :seconds))"
                " returning now() + make_interval(secs => :seconds)"
            ),
            {
                "sha256": hashlib.sha256(ticket.encode()).digest(),
                "tenant_id": caller.tenant_id,
                "token_id": caller.token_id,
                "seconds": TICKET_SECONDS,
            },
        ).scalar_one()
    return ticket, expires_at


def take_ticket(database: Database, ticket: str) -> Caller | None:
    """Uses a ticket up; returns the client it was made for, or None where it is unknown, used or too old."""
    with database.transaction("door") as connection:
        row = (
            connection.execute(
                text("select * from door_take_ticket(:sha256)"), {"sha256": hashlib.sha256(ticket.encode()).digest()}
            )
            .mappings()
            .first()
        )
    return _caller(row) if row else None


def find_dead_tokens(database: Database, token_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Returns those of `token_ids` that have expired or whose key was revoked."""
    with database.transaction("door") as connection:
        return set(connection.execute(text("select door_dead_tokens(:ids)"), {"ids": token_ids}).scalars())
