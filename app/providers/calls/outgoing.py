"""HTTP calls to providers: to public addresses over https, or to hosts that the environment allows.

A provider's URL comes from a tenant. Redirects, proxies, cookies and .netrc do not exist here: a call goes to its URL's
host (connections.py) by http.client, which knows none of them.
"""

from __future__ import annotations

import email.utils
import functools
import http.client
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import urllib3

from app.core.errors import OutcomeUnknown, Unavailable
from app.core.schedule import RETRY_AFTER_SECONDS_MAX
from app.providers.calls.addresses import AddressRefused, is_listed, is_loopback_name
from app.providers.calls.connections import CallBounds, Connections, Origin

# Less than the lease of a provider call, so that the claim still holds when the answer comes.
TOTAL_SECONDS = 10.0
# To resolve the host and to connect to one of its addresses, with TLS.
CONNECT_SECONDS = 3.0
# A payment as JSON has a few kilobytes; a list page some hundred.
RESPONSE_BYTES_MAX = 1024 * 1024
# Status lines, headers, chunk sizes and trailers; real answers have a few kilobytes.
OVERHEAD_BYTES_MAX = 128 * 1024

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider's answer: status, body and Retry-After in seconds, None without one.

    The body of a redirect and of a server error is not read. `is_whole` is False where the body of a client error was
    torn or too large; a success without its whole body is no answer. `date` is the header, as it came.
    """

    status: int
    body: bytes
    retry_after_seconds: float | None
    is_whole: bool = True
    date: str | None = None


def check_url(
    url: str, private_hosts: frozenset[str], name: str = "provider", setting: str = "SLUICE_PRIVATE_PROVIDERS"
) -> None:
    """Raise AddressRefused unless `url` is https to another machine, or http or https to one of `private_hosts`.

    The message says `name` for what is called, and names the `setting` that has the private hosts.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        # Reading the port raises for one that is no number.
        port = parts.port
        is_whole = bool(host) and port != 0
    except ValueError:
        raise AddressRefused(f"a {name} URL cannot be read") from None
    if parts.username is not None or parts.password is not None or not is_whole or "\\" in url:
        raise AddressRefused(f"a {name} URL has a host and no credentials")
    if parts.scheme in DEFAULT_PORTS and is_listed(host, port or DEFAULT_PORTS[parts.scheme], private_hosts):
        return
    if is_loopback_name(host):
        raise AddressRefused(f"a {name} on this machine is for development: {setting} has to name it")
    if parts.scheme != "https":
        raise AddressRefused(f"a {name} URL is https; http is for hosts that {setting} names")


@dataclass(frozen=True, slots=True)
class CallTarget:
    """Where a URL leads to, and what of it stands in the head of a request."""

    origin: Origin
    host: str
    path: str


# The URL of create calls is the same for all of a provider's payments.
@functools.lru_cache(maxsize=1_000)
def aim(url: str, private_hosts: frozenset[str]) -> CallTarget:
    """Return the target of a URL that may be called. Raise AddressRefused for another one."""
    check_url(url, private_hosts)
    return read_target(url)


def read_target(url: str) -> CallTarget:
    """Return the target of a URL that was checked. Raise AddressRefused for one that cannot be read."""
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError as error:
        raise AddressRefused("the URL cannot be read") from error
    scheme, host = str(parts.scheme), str(parts.host)
    origin = Origin(scheme == "https", host.strip("[]"), parts.port or DEFAULT_PORTS[scheme])
    name = host.rstrip(".")
    return CallTarget(
        origin, name if origin.port == DEFAULT_PORTS[scheme] else f"{name}:{origin.port}", parts.request_uri
    )


class Outgoing:
    """Sends requests to providers; threads share it and its connections, which are kept alive.

    It uses no proxy, .netrc or cookie, so that neither the machine nor another account changes a call.
    `private_hosts` may be called although they are not public; `ca_file` replaces the authorities that are trusted.
    """

    def __init__(self, private_hosts: frozenset[str] = frozenset(), ca_file: str | None = None) -> None:
        self._private_hosts = private_hosts
        self._seconds: float | None = None
        self._connections = Connections(private_hosts, ca_file)

    def limit(self, seconds: float | None) -> None:
        """Let each call take at most `seconds`, None for TOTAL_SECONDS: a test of the limit need not wait that long."""
        self._seconds = seconds

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> ProviderAnswer:
        """Send one request. Raise NotSent where it surely did not arrive, OutcomeUnknown where it may have."""
        target = aim(url, self._private_hosts)
        bounds = CallBounds(self._seconds or TOTAL_SECONDS, RESPONSE_BYTES_MAX + OVERHEAD_BYTES_MAX)
        # No compression: a small answer must not expand into a large one.
        sent = {"Host": target.host, "User-Agent": "sluice", **headers, "Accept-Encoding": "identity"}
        try:
            connection = self._connections.take(target.origin, bounds, min(CONNECT_SECONDS, bounds.left()))
            is_kept = False
            try:
                connection.request(method, target.path, body, sent)
                with connection.getresponse() as response:
                    answer = _read_answer(response)
                    # 204 and others have no body; one that was sent nevertheless would be read as the next answer.
                    is_kept = answer.status in (200, 201) and response.isclosed() and not response.will_close
            finally:
                if is_kept:
                    self._connections.give_back(connection)
                else:
                    connection.end()
        # ValueError: an invalid header or number; HTTPException: invalid HTTP.
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise Unavailable(f"the provider's answer did not come: {type(error).__name__}") from error
        return answer


def _read_answer(response: http.client.HTTPResponse) -> ProviderAnswer:
    content, is_whole = b"", True
    if 200 <= response.status < 300:
        content = _read_bounded(response)
    elif 400 <= response.status < 500:
        try:
            content = _read_bounded(response)
        except (OutcomeUnknown, http.client.HTTPException, OSError, ValueError):
            # The status of a client error suffices.
            is_whole = False
    wait = parse_retry_after(response.headers.get("Retry-After"))
    return ProviderAnswer(response.status, content, wait, is_whole, response.headers.get("Date"))


def _read_bounded(response: http.client.HTTPResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise OutcomeUnknown("the provider's answer is packed, which was not asked for")
    content = response.read(RESPONSE_BYTES_MAX + 1)
    if len(content) > RESPONSE_BYTES_MAX:
        raise OutcomeUnknown("the provider's answer is too large")
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content


def parse_retry_after(value: str | None, seconds_max: float = RETRY_AFTER_SECONDS_MAX) -> float | None:
    """Return a Retry-After header (seconds or an HTTP date, RFC 9110) in seconds, None where it cannot be read.

    At most `seconds_max`, whatever the answer names.
    """
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), seconds_max)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    # Invalid dates raise any of these.
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(0.0, seconds), seconds_max)
