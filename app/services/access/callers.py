"""Authenticate callers by secret keys, client tokens and socket tickets, found by their public part."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, fields

from cachetools import TLRUCache
from sqlalchemy import text

from app.core.errors import RequestRejected
from app.runtime.runtime import Runtime
from models import Database, Row, new_id
from models.array_params import uuid_array
from models.database import single
from models.sql import sql

# The public part finds the row and needs only to be unique; the secret part has 256 bits.
_PUBLIC_BYTES = 12
_SECRET_BYTES = 32

# A shop's page renews its token; a stolen one is of use for fifteen minutes at most.
CLIENT_TOKEN_SECONDS = 900
# From the request for a ticket to the connection that uses it; it stands in a URL, hence in logs.
TICKET_SECONDS = 30

# TTL of the cache of callers: a revoked key, an expired token and a removed origin are refused within a second.
CACHE_SECONDS = 1.0
# One request renews an entry at this age, so that a busy caller's requests do not all do so when it expires.
RENEW_SECONDS = CACHE_SECONDS / 2
# More callers than a process serves in a second; an entry takes less than a kilobyte.
CACHED_MAX = 5_000

USER_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,128}", re.ASCII)
_CREDENTIAL = re.compile(r"(sk|ct)_([A-Za-z0-9-]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: a tenant's backend (`role`: models.tables.access.ROLES) or one user's browser (client).

    `user_id`, `token_id` and `expires_at` are set for clients only. `public_part` names the credential and is no
    secret; it is empty for the client of a ticket.
    """

    tenant_id: uuid.UUID
    key_id: uuid.UUID
    role: str
    allowed_origins: tuple[str, ...]
    requests_per_second: int | None = None
    user_id: str | None = None
    token_id: uuid.UUID | None = None
    expires_at: datetime.datetime | None = None
    public_part: str = ""

    @property
    def actor(self) -> str:
        """The caller's name in the audit."""
        return f"user:{self.user_id}" if self.user_id is not None else f"key:{self.key_id}"


_FIELDS = frozenset(field.name for field in fields(Caller))


@dataclass(frozen=True, slots=True)
class BearerCredential:
    """A new credential: `plain` is shown once, the rest is stored."""

    plain: str
    public_part: str
    secret_sha256: bytes


def new_credential(prefix: str) -> BearerCredential:
    """Return a fresh `sk` or `ct` credential."""
    # Without '_' and '.', which separate the parts.
    public_part = secrets.token_urlsafe(_PUBLIC_BYTES).replace("_", "-")
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return BearerCredential(f"{prefix}_{public_part}.{secret}", public_part, hashlib.sha256(secret.encode()).digest())


def parse_credential(plain: str) -> BearerCredential | None:
    """Return the parts of a credential, or None where it is malformed."""
    match = _CREDENTIAL.fullmatch(plain)
    return match and BearerCredential(plain, match.group(2), hashlib.sha256(match.group(3).encode()).digest())


def authenticate(database: Database, plain: str) -> Caller | None:
    """Return the caller of the credential `plain`, or None where it is not valid.

    Unknown, wrong, expired and revoked ones do not differ, also in time: a hash is compared in any case.
    """
    credential = parse_credential(plain) or BearerCredential("", "", b"")
    statement = _FIND_TOKEN if plain.startswith("ct_") else _FIND_KEY
    rows = database.run_single("door", statement, {"public_part": credential.public_part})
    expected = bytes(rows[0].secret_sha256) if rows else b"\0" * 32
    fits = hmac.compare_digest(expected, credential.secret_sha256)
    return _caller(rows[0], credential.public_part) if rows and fits else None


_FIND_KEY = single("select * from door_find_key(:public_part)")
_FIND_TOKEN = single("select * from door_find_token(:public_part)")


@dataclass(slots=True)
class _CachedCaller:
    """An authenticated caller and the hash of its secret; `read_at` is on the monotonic clock."""

    secret_sha256: bytes
    caller: Caller
    read_at: float
    is_renewed: bool = False


_lock = threading.Lock()
# An entry expires CACHE_SECONDS after the start of its query, whose own time is part of the second.
_cache: TLRUCache[str, _CachedCaller] = TLRUCache(CACHED_MAX, lambda _name, entry, _now: entry.read_at + CACHE_SECONDS)


def recognise(database: Database, plain: str) -> Caller | None:
    """Return the caller as `authenticate` does, from a cache of CACHE_SECONDS.

    The cache holds authenticated callers only, and a hit needs the same secret: another secret with a cached public
    part is queried for, and takes the time of an unknown one.
    """
    credential = parse_credential(plain)
    if credential is None:
        return authenticate(database, plain)
    name, now = plain.partition(".")[0], time.monotonic()
    with _lock:
        known = _cache.get(name)
    is_same = known is not None and hmac.compare_digest(known.secret_sha256, credential.secret_sha256)
    if known is not None and is_same and _is_good(known, now):
        return known.caller
    caller = authenticate(database, plain)
    with _lock:
        if caller is not None:
            _cache[name] = _CachedCaller(credential.secret_sha256, caller, now)
        elif is_same:
            _cache.pop(name, None)
    return caller


def _is_good(known: _CachedCaller, now: float) -> bool:
    """Return whether the entry may be used; False for the one request that is to renew it before it expires."""
    if now - known.read_at < RENEW_SECONDS:
        return True
    with _lock:
        is_left_to_another, known.is_renewed = known.is_renewed, True
    return is_left_to_another


def _caller(row: Row, public_part: str = "") -> Caller:
    """Return the caller in a row of one of the functions door_*, whose columns have the names of fields."""
    values = {name: value for name, value in row._asdict().items() if name in _FIELDS}
    values |= {"allowed_origins": tuple(row.allowed_origins), "public_part": public_part}
    return Caller(**{"role": "client"} | values)


# A token expires with its key. RETURNING repeats the expression, since the role web may not read tokens.
_INSERT_TOKEN = single(
    sql(
        "insert into client_tokens (id, tenant_id, api_key_id, user_id, public_part, secret_sha256, expires_at)"
        " values (:id, :tenant_id, :key_id, :user_id, :public_part, :sha256, {expiry}) returning {expiry}",
        expiry=text(
            "least(now() + make_interval(secs => :seconds),"
            " (select expires_at from api_keys where tenant_id = :tenant_id and id = :key_id))"
        ),
    )
)
_INSERT_TICKET = single(
    "insert into socket_tickets (ticket_sha256, tenant_id, client_token_id, expires_at)"
    " values (:sha256, :tenant_id, :token_id, now() + make_interval(secs => :seconds))"
    " returning now() + make_interval(secs => :seconds)"
)
_TAKE_TICKET = single("select * from door_take_ticket(:sha256)")
_FIND_DEAD_TOKENS = single("select door_dead_tokens(cast(:ids as uuid[]))")
_FIND_DEAD_KEYS = single(
    "select public_part from unnest(cast(:public_parts as text[])) as t(public_part)"
    " where not exists (select from door_find_key(public_part))"
)


def create_client_token(
    runtime: Runtime, tenant_id: uuid.UUID, key_id: uuid.UUID, user_id: str
) -> tuple[str, datetime.datetime]:
    """Store a client token of fifteen minutes for `user_id`; return it and its expiry."""
    if not USER_ID.fullmatch(user_id):
        raise RequestRejected(
            422, "The request has errors.", [{"field": "user_id", "message": "must be 1-128 of [A-Za-z0-9_.:@-]"}]
        )
    credential = new_credential("ct")
    token = {"id": new_id(), "public_part": credential.public_part, "sha256": credential.secret_sha256}
    new = {"tenant_id": tenant_id, "key_id": key_id, "user_id": user_id, "seconds": CLIENT_TOKEN_SECONDS}
    ((expires_at,),) = runtime.database.run_single("web", _INSERT_TOKEN, token | new, tenant_id)
    return credential.plain, expires_at


def create_ticket(runtime: Runtime, caller: Caller) -> tuple[str, datetime.datetime]:
    """Store a single-use ticket of thirty seconds for the client's next stream; return it and its expiry."""
    ticket = secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(ticket.encode()).digest()
    new = {"sha256": digest, "tenant_id": caller.tenant_id, "token_id": caller.token_id, "seconds": TICKET_SECONDS}
    ((expires_at,),) = runtime.database.run_single("web", _INSERT_TICKET, new, caller.tenant_id)
    return ticket, expires_at


def take_ticket(database: Database, ticket: str) -> Caller | None:
    """Use up a ticket; return its client, or None where it is unknown, used or expired."""
    rows = database.run_single("door", _TAKE_TICKET, {"sha256": hashlib.sha256(ticket.encode()).digest()})
    return _caller(rows[0]) if rows else None


def find_dead_tokens(database: Database, token_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of `token_ids` that have expired or whose key was revoked."""
    return {row[0] for row in database.run_single("door", _FIND_DEAD_TOKENS, {"ids": uuid_array(token_ids)})}


def find_dead_keys(database: Database, public_parts: list[str]) -> set[str]:
    """Return those of `public_parts` whose secret key has expired or was revoked."""
    # Public parts are made of letters, digits and hyphens, none of which an array's text has to quote.
    rows = database.run_single("door", _FIND_DEAD_KEYS, {"public_parts": f"{{{','.join(public_parts)}}}"})
    return {row.public_part for row in rows}


_IS_KNOWN_ORIGIN = single("select door_origin_is_known(:origin)")


def is_known_origin(database: Database, origin: str) -> bool:
    """Return whether any tenant allows the normalised `origin`."""
    return bool(database.run_single("door", _IS_KNOWN_ORIGIN, {"origin": origin})[0][0])
