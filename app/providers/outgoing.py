"""HTTP calls to providers: to public addresses over https, or to hosts that the environment allows.

A provider's URL comes from a tenant. The host is resolved once, every address is checked, and the connection goes to
an address that was checked; redirects, proxies and .netrc are off. Time and bytes are bounded on the socket, so that
the bound holds for whatever is read from it: interim answers, headers, bodies and trailers of any status.
"""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.ssl_ import create_urllib3_context

from app.core.errors import NotSent, OutcomeUnknown, Unavailable
from app.core.schedule import RETRY_AFTER_SECONDS_MAX
from app.providers.addresses import is_callable, is_listed, is_loopback_name, resolve

# Less than the lease of a provider call, so that the claim still holds when the answer comes.
TOTAL_SECONDS = 10.0
# To resolve the host and to connect to one of its addresses, with TLS.
CONNECT_SECONDS = 3.0
# A payment as JSON has a few kilobytes; a list page some hundred.
RESPONSE_BYTES_MAX = 1024 * 1024
# Status lines, headers, chunk sizes and trailers; real answers have a few kilobytes.
OVERHEAD_BYTES_MAX = 128 * 1024
# Idle connections are kept to this many hosts, and this many to each.
POOLS_MAX = 100
CONNECTIONS_MAX = 128


DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressRefused(NotSent):
    """The provider's address is not one that may be called."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider's answer: status, body and Retry-After in seconds, None without one.

    The body of a redirect and of a server error is not read. `is_whole` is False where the body of a client error was
    torn or too large; a success without its whole body is no answer.
    """

    status: int
    body: bytes
    retry_after_seconds: float | None
    is_whole: bool = True


def check_url(url: str, private_hosts: frozenset[str]) -> None:
    """Raise AddressRefused unless `url` is https to another machine, or http or https to one of `private_hosts`."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        # Reading the port raises for one that is no number.
        port = parts.port
        is_whole = bool(host) and port != 0
    except ValueError:
        raise AddressRefused("a provider URL cannot be read") from None
    if parts.username is not None or parts.password is not None or not is_whole or "\\" in url:
        raise AddressRefused("a provider URL has a host and no credentials")
    if parts.scheme in DEFAULT_PORTS and is_listed(host, port or DEFAULT_PORTS[parts.scheme], private_hosts):
        return
    if is_loopback_name(host):
        raise AddressRefused("a provider on this machine is for development: SLUICE_PRIVATE_PROVIDERS has to name it")
    if parts.scheme != "https":
        raise AddressRefused("a provider URL is https; http is for hosts that SLUICE_PRIVATE_PROVIDERS names")


class _Limits(threading.local):
    """The end of this thread's call on the monotonic clock, and how many bytes of its answer are left."""

    ends_at: float = float("inf")
    bytes_left: int = 0

    def start(self) -> None:
        """Start a call with all its time and bytes."""
        self.ends_at = time.monotonic() + TOTAL_SECONDS
        self.bytes_left = RESPONSE_BYTES_MAX + OVERHEAD_BYTES_MAX

    def left(self) -> float:
        """Return the seconds that are left. Raise TimeoutError where there are none."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the call took too long")
        return seconds

    def count(self, received: int) -> int:
        """Subtract `received` bytes and return their number. Raise OutcomeUnknown where too many came."""
        self.bytes_left -= received
        if self.bytes_left < 0:
            raise OutcomeUnknown("the provider's answer is too large")
        return received


_limits = _Limits()


class _TimedSocket(socket.socket):
    """A socket on which each read is limited by the time left for the whole call (slow drip)."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_limits.left())
        return _limits.count(super().recv_into(*args, **kwargs))

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(_limits.left())
        super().sendall(*args, **kwargs)


class _TimedTLS(_TimedSocket, ssl.SSLSocket):
    """The same over TLS."""


def _connect(host: str, port: int, private_hosts: frozenset[str]) -> socket.socket:
    until = time.monotonic() + min(CONNECT_SECONDS, _limits.left())
    found = resolve(host, port, CONNECT_SECONDS)
    # Reject hosts that mix private and public addresses (DNS rebinding).
    if not found or not all(is_callable(str(address[0]), host, port, private_hosts) for _, address in found):
        raise AddressRefused(f"the provider's host {host} has an address that may not be called")
    last: OSError | None = None
    for family, address in found:
        connection = _TimedSocket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(until - time.monotonic(), 0.01))
            connection.connect(address)
            # The TLS handshake has the rest of the time to connect.
            connection.settimeout(max(until - time.monotonic(), 0.01))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            last = error
    raise NotSent(f"the provider does not take connections: {last}") from last


def _open_pools(private_hosts: frozenset[str], ca_file: str | None) -> PoolManager:
    """Return pools that connect to checked addresses only; the Host header and the TLS name stay the URL's."""

    def new_socket(connection: HTTPConnection) -> socket.socket:
        # The name as given: without its final dot it could be resolved as another one (search domains).
        return _connect(connection._dns_host, connection.port, private_hosts)

    plain = type("GuardedHTTP", (HTTPConnection,), {"_new_conn": new_socket})
    secure = type("GuardedHTTPS", (HTTPSConnection,), {"_new_conn": new_socket})
    context = create_urllib3_context()
    context.sslsocket_class = _TimedTLS
    pools = PoolManager(
        num_pools=POOLS_MAX,
        maxsize=CONNECTIONS_MAX,
        retries=False,
        ssl_context=context,
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_file or certifi.where(),
    )
    pools.pool_classes_by_scheme = {
        "http": type("GuardedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("GuardedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
    return pools


class Outgoing:
    """Sends requests to providers; threads share it and its connections, which are kept alive.

    It uses no proxy, .netrc or cookie, so that neither the machine nor another account changes a call.
    `private_hosts` may be called although they are not public; `ca_file` replaces the authorities that are trusted.
    """

    def __init__(self, private_hosts: frozenset[str] = frozenset(), ca_file: str | None = None) -> None:
        self._private_hosts = private_hosts
        self._pools = _open_pools(private_hosts, ca_file)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> ProviderAnswer:
        """Send one request. Raise NotSent where it surely did not arrive, OutcomeUnknown where it may have."""
        check_url(url, self._private_hosts)
        _limits.start()
        try:
            response = self._pools.urlopen(
                method,
                url,
                body=body,
                # No compression: a small answer must not expand into a large one.
                headers={"User-Agent": "sluice", **headers, "Accept-Encoding": "identity"},
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=TOTAL_SECONDS),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            return _read_answer(response)
        except urllib3.exceptions.SSLError as error:
            raise _tls_failure(error) from error
        # ValueError: an invalid header or number; HTTPException: invalid HTTP.
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise Unavailable(f"the provider's answer did not come: {type(error).__name__}") from error


def _tls_failure(error: Exception) -> NotSent | OutcomeUnknown:
    """Return NotSent for a refused certificate, since no data was sent; a request that fails later may have arrived."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error) or "CertificateError" in str(error):
        return NotSent("the provider's certificate is not trusted")
    return Unavailable(f"the provider's answer did not come: {type(error).__name__}")


def _read_answer(response: urllib3.BaseHTTPResponse) -> ProviderAnswer:
    connection = response.connection
    content, is_whole, is_reusable = b"", True, False
    try:
        if 200 <= response.status < 300:
            content = _read_bounded(response)
            # 204 and others have no body; one that was sent nevertheless would be read as the next answer.
            is_reusable = response.status in (200, 201)
        elif 400 <= response.status < 500:
            try:
                content = _read_bounded(response)
            except (OutcomeUnknown, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
                # The status of a client error suffices.
                content, is_whole = b"", False
        return ProviderAnswer(
            response.status, content, parse_retry_after(response.headers.get("Retry-After")), is_whole
        )
    finally:
        if not is_reusable:
            response.close()
            if connection is not None:
                connection.close()


def _read_bounded(response: urllib3.BaseHTTPResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise OutcomeUnknown("the provider's answer is packed, which was not asked for")
    chunks, size = [], 0
    while chunk := response.read1(16_384, decode_content=False):
        size += len(chunk)
        if size > RESPONSE_BYTES_MAX:
            raise OutcomeUnknown("the provider's answer is too large")
        chunks.append(chunk)
    return b"".join(chunks)


def parse_retry_after(value: str | None) -> float | None:
    """Return a Retry-After header (seconds or an HTTP date, RFC 9110) in seconds, None where it cannot be read.

    At most RETRY_AFTER_SECONDS_MAX, whatever the provider names.
    """
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_SECONDS_MAX)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    # Invalid dates raise any of these.
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)
