"""Requests as web and sockets accept them: ordinary heads are read at once, others by gunicorn's parser.

WSGI joins equal headers with a comma, after which two read as one: those that come more than once are marked. Imported
in gunicorn's main process, so no large library is loaded here.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Mapping
from random import getrandbits
from typing import Any

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from app.http.plain_heads import PlainHead, read_plain

# The name under which the doubled headers are listed. A header of this name that a client sends is removed.
MARK = "X-SLUICE-DOUBLED"
_ENVIRON_KEY = "HTTP_X_SLUICE_DOUBLED"

# Headers that decide about authentication, signatures or the resource: two programs on the way of a request may read
# different ones of two. Others (Prefer, Accept, X-Forwarded-For) are lists by definition.
SINGLE_HEADERS = frozenset(
    {
        *("authorization", "idempotency-key", "host", "origin", "content-type", "content-length"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "stripe-signature"),
    }
)

# The header with the id of a request, and where the id is kept in the request's environment.
REQUEST_ID = "X-Request-Id"
_ID_KEY = "sluice.request_id"
_ALLOWED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class StrictRequest(Request):  # type: ignore[misc]  # gunicorn has no types
    """A request whose head has been read; its body is in memory where it came along with the head."""

    def __init__(self, cfg: Any, unreader: Any, peer_addr: Any, req_number: int = 1) -> None:
        data = unreader.read()
        if not data:
            raise StopIteration
        head = read_plain(data, min(cfg.limit_request_line, cfg.limit_request_field_size), cfg.limit_request_fields)
        if head is None or MARK in (name for name, _ in head.headers):
            unreader.unread(data)
            super().__init__(cfg, unreader, peer_addr, req_number)
            self.headers: list[tuple[str, str]] = mark_doubled(self.headers)
        else:
            self._take(head, data, unreader)

    def _take(self, head: PlainHead, data: bytes, unreader: Any) -> None:
        """Become the request that gunicorn's parser would make of this head."""
        self.method, self.uri, self.path, self.query, self.headers = head[:5]
        self.version, self.scheme, self.must_close = (1, 1), "http", False
        self._expected_100_continue = False
        body_end = head.end + head.content_length
        if len(data) < body_end:
            unreader.unread(data[head.end :])
            self.body = Body(LengthReader(unreader, head.content_length))
            return
        # The next request may have come along as well.
        if len(data) > body_end:
            unreader.unread(data[body_end:])
        self.body = io.BytesIO(data[head.end : body_end])


class StrictParser(RequestParser):  # type: ignore[misc]
    """Iterates over the requests of a connection."""

    mesg_class = StrictRequest


def mark_doubled(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers (names in upper case), followed by one that lists the names that occur twice, if any."""
    names = [name for name, _ in headers]
    if len(set(names)) == len(names) and MARK not in names:
        return headers
    kept = [(name, value) for name, value in headers if name != MARK]
    doubled = sorted({name.lower() for name in names if names.count(name) > 1 and name != MARK})
    return [*kept, (MARK, ",".join(doubled))] if doubled else kept


# Names are ours or those that providers' rows name, and a client's: the ordinary ones are few.
@functools.lru_cache(maxsize=512)
def environ_key(name: str) -> str:
    """Return the key of a header in a WSGI environment; the name is without underscores, in any letter case."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


class HeaderValues:
    """The headers of a request, read by name in any letter case, without a copy of them."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, those of a doubled one joined by commas."""
        value: str | None = self._environ.get(environ_key(name), default)
        return value


def find_doubled(environ: Mapping[str, Any]) -> str | None:
    """Return the first, by name, of the SINGLE_HEADERS that came more than once, or None."""
    doubled = doubled_headers(environ)
    return min(SINGLE_HEADERS & doubled, default=None) if doubled else None


def doubled_headers(environ: Mapping[str, Any]) -> frozenset[str]:
    """Return the names, in lower case, of the request's headers that came more than once."""
    names = environ.get(_ENVIRON_KEY)
    return frozenset(names.split(",")) if names else frozenset()


def make_request_id() -> str:
    """Return a new id of a request; it is no secret."""
    return f"{getrandbits(96):024x}"  # nosec B311


def read_request_id(environ: dict[str, Any]) -> str:
    """Return the id of a request, the same at every call: the client's `X-Request-Id`, or one made here."""
    found: str | None = environ.get(_ID_KEY)
    if found is None:
        given = environ.get("HTTP_X_REQUEST_ID")
        found = environ[_ID_KEY] = given if given and _ALLOWED_ID.fullmatch(given) else make_request_id()
    return found
