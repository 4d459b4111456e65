"""Admission of live connections before the upgrade: credential, origin, and the number to resume after."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

import gevent
from flask import Request

from app.core.validation.addresses import url_host
from app.http.origins import Origins, own_origin
from app.http.problems import Refused
from app.runtime.settings import Settings
from app.services.access.auth_failures import note_failure
from app.services.access.callers import Caller
from app.sockets.rows import LiveQueries

TOKEN_PROTOCOL = "sluice.token."  # noqa: S105  # a prefix  # nosec B105
PROTOCOL = "sluice.v1"
WEBSOCKET_VERSION = "13"  # RFC 6455, section 4.1
KEY_BYTES = 16  # RFC 6455, section 4.1

# Slows down guessing; a person whose client's token has just ended does not notice it.
REFUSAL_SECONDS = 0.25

_AFTER = re.compile(r"[0-9]{1,18}", re.ASCII)
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Admission:
    """A caller that may connect, and the number after which it resumes; None: it receives new notifications only."""

    caller: Caller
    after: int | None


def admit_socket(request: Request, rows: LiveQueries, origins: Origins) -> Admission:
    """Return the admission of a WebSocket, by `Authorization` or else by a subprotocol, which browsers can send.

    Raise Refused (401, 403, 422, 426, 400).
    """
    offered = offered_protocols(request)
    tokens = [name.removeprefix(TOKEN_PROTOCOL) for name in offered if name.startswith(TOKEN_PROTOCOL)]
    header = request.headers.get("Authorization", "")
    if header and tokens:
        raise Refused(400, "The credential is given twice, as Authorization and as a subprotocol.")
    token = _read_bearer(header) if header else tokens[0] if len(tokens) == 1 else ""
    caller = _check_caller(rows.authenticate(token) if token else None, rows, token, request)
    if tokens and caller.role != "client":
        # Subprotocols are for pages, and no page may have a secret key.
        raise Refused(403, "A secret key is sent in the header Authorization only.", code="role_forbidden")
    check_origin(request.origin, caller.allowed_origins, origins)
    check_handshake(request)
    return Admission(caller, read_after(request))


def admit_stream(request: Request, rows: LiveQueries, origins: Origins) -> Admission:
    """Return the admission of a stream, by `Authorization` or else by `ticket`. Raise Refused (401, 403, 422)."""
    header, ticket = request.headers.get("Authorization", ""), request.args.get("ticket", "")
    credential = _read_bearer(header)
    if header:
        found = rows.authenticate(credential) if credential else None
    else:
        # HEAD does not use the ticket up: it is for the stream itself.
        found = rows.take_ticket(ticket) if ticket and request.method == "GET" else None
    caller = _check_caller(found, rows, credential or ticket, request)
    check_origin(request.origin, caller.allowed_origins, origins)
    return Admission(caller, read_after(request))


def _read_bearer(header: str) -> str:
    """Return the credential in `Authorization`, empty where it is of another scheme."""
    scheme, _, credential = header.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def offered_protocols(request: Request) -> list[str]:
    """Return the subprotocols that the client offers."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    return [name.strip() for name in offered.split(",") if name.strip()]


def check_origin(origin: str | None, allowed: Collection[str], origins: Origins) -> None:
    """Raise Refused (403) where a page is neither Sluice's nor the tenant's; without an origin it is no browser."""
    if origin is not None and not origins.may_call(origin, allowed):
        raise Refused(403, "Pages of this origin may not connect.", code="origin_forbidden")


def check_handshake(request: Request) -> None:
    """Raise Refused (426, 400) where the WebSocket handshake cannot be completed."""
    if request.headers.get("Sec-WebSocket-Version") != WEBSOCKET_VERSION:
        raise Refused(426, "Only WebSocket version 13 is spoken here.", {"Sec-WebSocket-Version": WEBSOCKET_VERSION})
    try:
        key = base64.b64decode(request.headers.get("Sec-WebSocket-Key", ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Refused(400, "Sec-WebSocket-Key must be sixteen bytes in base64.")


def read_after(request: Request) -> int | None:
    """Return the number to resume after: the larger of `after` and `Last-Event-ID`, or None.

    A browser's stream that reconnects by itself sends its first URL, and its newer last id as a header.
    Raise Refused (422).
    """
    given = [("after", value) for value in request.args.getlist("after")]
    given += [("Last-Event-ID", value) for value in request.headers.getlist("Last-Event-ID") if value]
    errors = [
        {"field": field, "message": "must be a whole number of at most 18 digits"}
        for field, value in given
        if not _AFTER.fullmatch(value)
    ]
    if errors:
        raise Refused(422, "The request has errors.", errors=errors)
    return max((int(value) for _, value in given), default=None)


def list_own_origins(settings: Settings) -> frozenset[str]:
    """Return the origins of Sluice's own pages; a loopback address counts under each of its names."""
    port = settings.sockets_port or 0
    origins = set()
    for url in (settings.public_url, settings.sockets_public_url or f"http://{url_host(settings.bind)}:{port}"):
        origin = own_origin(url)
        origins.add(origin)
        parts = urlsplit(origin)
        for name in _LOOPBACK:
            if parts.netloc.startswith(f"{name}:"):
                tail = parts.netloc.removeprefix(name)
                origins.update(f"{parts.scheme}://{other}{tail}" for other in _LOOPBACK)
    return frozenset(origins)


def _check_caller(caller: Caller | None, rows: LiveQueries, credential: str, request: Request) -> Caller:
    if caller is None:
        note_failure(rows.database, credential, request.remote_addr or "", "sockets")
        gevent.sleep(REFUSAL_SECONDS)
        raise Refused(401, "A valid secret key or client token is needed.")
    return caller
