"""Parse internet addresses as clients and proxies write them."""

from __future__ import annotations

import functools
import ipaddress
import re

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# A client address that cannot be parsed (RFC 7239, section 6.2): it is on no list and is not loopback.
UNKNOWN = "unknown"
# The longest form is IPv6 with an embedded IPv4 address, a zone, brackets and a port: some 70 characters.
_CHARACTERS_MAX = 128
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?", re.ASCII)
_V4_AND_PORT = re.compile(r"([0-9.]+):([0-9]{1,5})", re.ASCII)
_PORT_MAX = 65_535


def parse_address(text: str) -> IPAddress | None:
    """Return the address in `text`, None where it is none.

    Accepted are IPv4 and IPv6, each with or without a port, IPv6 with or without brackets and with a zone, blanks and
    double quotes around it (`Forwarded` and some proxies write them). An IPv4 address mapped into IPv6 is returned as
    the IPv4 address it is.
    """
    text = text[: _CHARACTERS_MAX + 1].strip(" \t").removeprefix('"').removesuffix('"')
    if len(text) > _CHARACTERS_MAX or not text.isascii():
        return None
    match = _BRACKETED.fullmatch(text) or _V4_AND_PORT.fullmatch(text)
    if match and match.group(2) and int(match.group(2)) > _PORT_MAX:
        return None
    host = match.group(1) if match else text
    try:
        address = ipaddress.ip_address(host.partition("%")[0] if ":" in host else host)
    except ValueError:
        return None
    if text.startswith("[") and isinstance(address, ipaddress.IPv4Address):
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@functools.lru_cache(maxsize=4_096)  # a busy server's clients; each request asks, and parsing takes microseconds
def find_client_address(peer: str, forwarded: str | None, hops: int) -> str:
    """Return the client's address in its canonical form, or UNKNOWN.

    `peer` is the socket's other end. With `hops` proxies in front, the entry that the outermost of them appended to
    X-Forwarded-For counts: exactly `hops` from the right. A header with fewer entries did not pass all of them, so
    that it cannot be trusted. Without the header the request did not pass a proxy, and the peer is the client.
    """
    if hops and forwarded is not None:
        entries = forwarded.split(",")
        address = parse_address(entries[-hops]) if len(entries) >= hops else None
    else:
        address = parse_address(peer)
    return UNKNOWN if address is None else str(address)


def is_loopback_address(text: str) -> bool:
    """Return whether `text` is an address of this machine alone."""
    address = parse_address(text)
    return address is not None and address.is_loopback


def url_host(host: str) -> str:
    """Return a host name or address as URLs and `host:port` pairs write it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
