"""The guard of outgoing calls: only to public addresses over https, or to what the environment lets through.

A provider's URL comes from a tenant. The host is resolved once, every address is checked, and the connection goes to
an address that was checked; redirects, proxies and .netrc are off; bytes and time are bounded.
"""

from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.ssl_ import create_urllib3_context

from app.core.errors import NotSent, OutcomeUnknown
from app.providers.addresses import is_callable, is_loopback_name, resolve

# Ten seconds in all: less than the lease of a provider call, so that an answer still finds its claim.
TOTAL_SECONDS = 10.0
# To find the host and to connect to one of its addresses, TLS included.
CONNECT_SECONDS = 3.0
# A payment as JSON has a few kilobytes; a list page some hundred.
RESPONSE_BYTES_MAX = 1024 * 1024


class AddressRefused(NotSent):
    """The provider's address is not one that may be called."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer: status, body, and how long to wait where it said so."""

    status: int
    body: bytes
    retry_after_seconds: float | None


def check_url(url: str, private_hosts: frozenset[str]) -> None:
    """Raises AddressRefused unless `url` is https, or http to loopback or to one of `private_hosts`."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        # Reading the port raises for one that is no number.
        is_whole = bool(host) and (parts.port or 1) > 0
    except ValueError:
        raise AddressRefused("a provider URL cannot be read") from None
    if parts.username is not None or parts.password is not None or not is_whole or "\\" in url:
        raise AddressRefused("a provider URL has a host and no credentials")
    if parts.scheme == "https" or (parts.scheme == "http" and (host in private_hosts or is_loopback_name(host))):
        return
    raise AddressRefused("a provider URL is https; http is for loopback only")


class _Deadline(threading.local):
    """When the call that this thread is making has to be over, on the monotonic clock."""

    at: float = float("inf")

    def left(self) -> float:
        """Returns the seconds that are left. Raises TimeoutError where there are none."""
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the call took too long")
        return seconds


_deadline = _Deadline()


class _TimedSocket(socket.socket):
    """A socket on which each read waits for what is left of the whole call, so that dripping bytes gain no time."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_deadline.left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(_deadline.left())
        super().sendall(*args, **kwargs)


class _TimedTLS(ssl.SSLSocket):
    """The same over TLS."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_deadline.left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(_deadline.left())
        super().sendall(*args, **kwargs)


def _connect(host: str, port: int, private_hosts: frozenset[str]) -> socket.socket:
    until = time.monotonic() + min(CONNECT_SECONDS, _deadline.left())
    found = resolve(host, port, CONNECT_SECONDS)
    # All of them, not only the one that is used: a host with a private address beside a public one is up to something.
    if not found or not all(is_callable(str(address[0]), host, private_hosts) for _, address in found):
        raise AddressRefused(f"the provider's host {host} has an address that may not be called")
    last: OSError | None = None
    for family, address in found:
        connection = _TimedSocket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(until - time.monotonic(), 0.01))
            connection.connect(address)
            # TLS is set up with what is left of the time to connect.
            connection.settimeout(max(until - time.monotonic(), 0.01))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            last = error
    raise NotSent(f"the provider does not take connections: {last}") from last


class _GuardedAdapter(HTTPAdapter):
    """Connects to checked addresses only; the Host header and the TLS name stay the URL's."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: object) -> None:
        private_hosts = self._private_hosts

        def new_socket(connection: HTTPConnection) -> socket.socket:
            # The name as it was given: without the dot at its end it could be looked up as another one.
            return _connect(connection._dns_host, connection.port, private_hosts)

        plain = type("GuardedHTTP", (HTTPConnection,), {"_new_conn": new_socket})
        secure = type("GuardedHTTPS", (HTTPSConnection,), {"_new_conn": new_socket})
        context = create_urllib3_context()
        context.sslsocket_class = _TimedTLS
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, retries=False, ssl_context=context
        )
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("GuardedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("GuardedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class Outgoing:
    """Sends requests to providers. Not shared between threads: each has its own session.

    `private_hosts` may be called although they are not public; `ca_file` replaces the authorities that are trusted.
    """

    def __init__(self, private_hosts: frozenset[str] = frozenset(), ca_file: str | None = None) -> None:
        self._private_hosts = private_hosts
        self._session = requests.Session()
        # Neither proxies nor .netrc of the machine may change where a call goes or what it carries.
        self._session.trust_env = False
        self._session.verify = ca_file or True
        # A small answer must not unfold into a large one.
        self._session.headers["Accept-Encoding"] = "identity"
        adapter = _GuardedAdapter(private_hosts)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Sends one request. Raises NotSent where it surely did not arrive, OutcomeUnknown where it may have."""
        check_url(url, self._private_hosts)
        _deadline.at = time.monotonic() + TOTAL_SECONDS
        # A cookie of one account must not travel with another's call.
        self._session.cookies.clear()
        try:
            response = self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(CONNECT_SECONDS, TOTAL_SECONDS),
                allow_redirects=False,
                stream=True,
            )
            with response:
                content = _read_bounded(response)
        except NotSent:
            raise
        except requests.exceptions.SSLError as error:
            raise _tls_failure(error) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise OutcomeUnknown(f"the provider's answer did not come: {type(error).__name__}") from error
        return Answer(response.status_code, content, parse_retry_after(response.headers.get("Retry-After")))


def _tls_failure(error: Exception) -> NotSent | OutcomeUnknown:
    """A certificate that is refused is refused before anything is sent; what breaks later may have arrived."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error) or "CertificateError" in str(error):
        return NotSent("the provider's certificate is not trusted")
    return OutcomeUnknown(f"the provider's answer did not come: {type(error).__name__}")


def _read_bounded(response: requests.Response) -> bytes:
    chunks, size = [], 0
    while chunk := response.raw.read1(16_384, decode_content=False):
        size += len(chunk)
        if size > RESPONSE_BYTES_MAX:
            raise OutcomeUnknown("the provider's answer is too large")
        _deadline.left()
        chunks.append(chunk)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise OutcomeUnknown("the provider's answer is packed, which was not asked for")
    return b"".join(chunks)


def parse_retry_after(value: str | None) -> float | None:
    """Returns a Retry-After header (seconds or an HTTP date, RFC 9110) in seconds, None where it cannot be read."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
