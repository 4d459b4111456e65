"""The guard of outgoing calls: only to public addresses over https, or to what the environment lets through.

A provider's URL comes from a tenant. The host is resolved once, every address is checked, and the connection goes to
an address that was checked; redirects, proxies and .netrc are off; bytes and time are bounded.
"""

from __future__ import annotations

import email.utils
import ipaddress
import socket
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from app.core.errors import NotSent, OutcomeUnknown

# Ten seconds in all: less than the lease of a provider call, so that an answer still finds its claim.
TOTAL_SECONDS = 10.0
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
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.username or parts.password or not host:
        raise AddressRefused("a provider URL has a host and no credentials")
    if parts.scheme == "https" or (parts.scheme == "http" and (host in private_hosts or _is_loopback_name(host))):
        return
    raise AddressRefused("a provider URL is https; http is for loopback only")


def _is_loopback_name(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _is_allowed(address: str, host: str, private_hosts: frozenset[str]) -> bool:
    if host in private_hosts or _is_loopback_name(host):
        return True
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv4 address in IPv6 clothes (mapped, 6to4, Teredo, NAT64) is judged as the IPv4 address it leads to.
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _nat64(ip)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    well_known = ipaddress.IPv6Network("64:ff9b::/96")
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in well_known else None


def _connect(host: str, port: int, timeout: float, private_hosts: frozenset[str]) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotSent(f"the provider's host cannot be resolved: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(_is_allowed(address, host, private_hosts) for address in addresses):
        raise AddressRefused(f"the provider's host {host} has an address that may not be called")
    last: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=timeout)
        except OSError as error:
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
            return _connect(connection.host, connection.port, CONNECT_SECONDS, private_hosts)

        plain = type("GuardedHTTP", (HTTPConnection,), {"_new_conn": new_socket})
        secure = type("GuardedHTTPS", (HTTPSConnection,), {"_new_conn": new_socket})
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, retries=False)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("GuardedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("GuardedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class Outgoing:
    """Sends requests to providers. Not shared between threads: each has its own session."""

    def __init__(self, private_hosts: frozenset[str] = frozenset()) -> None:
        self._private_hosts = private_hosts
        self._session = requests.Session()
        # Neither proxies nor .netrc of the machine may change where a call goes or what it carries.
        self._session.trust_env = False
        adapter = _GuardedAdapter(private_hosts)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Sends one request. Raises NotSent where it surely did not arrive, OutcomeUnknown where it may have."""
        check_url(url, self._private_hosts)
        deadline = time.monotonic() + TOTAL_SECONDS
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
                content = _read_bounded(response, deadline)
        except NotSent:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise OutcomeUnknown(f"the provider's answer did not come: {type(error).__name__}") from error
        return Answer(response.status_code, content, parse_retry_after(response.headers.get("Retry-After")))


def _read_bounded(response: requests.Response, deadline: float) -> bytes:
    chunks, size = [], 0
    # read1 gives what has come; waiting for a full chunk would let a dripping answer outlast the deadline.
    while chunk := response.raw.read1(16_384, decode_content=True):
        size += len(chunk)
        if size > RESPONSE_BYTES_MAX:
            raise OutcomeUnknown("the provider's answer is too large")
        if time.monotonic() > deadline:
            raise OutcomeUnknown("the provider's answer took too long")
        chunks.append(chunk)
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
