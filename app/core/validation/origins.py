"""Web origins (RFC 6454) as browsers send them in `Origin`."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

# A browser leaves the scheme's own port out.
_OWN_PORTS = {"http": 80, "https": 443}
# The ASCII form of a host name that browsers send; underscores occur in practice.
_LABELS = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]+)?", re.ASCII)
_HOST_CHARACTERS_MAX = 253
_NUMERIC_END = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$")


def parse_origin(text: str) -> str:
    """Return the origin in the form that browsers send: lower case, without the scheme's own port.

    Raise ValueError, with a message for a person, for what no browser sends: a path, credentials, a wildcard, letters
    outside ASCII, a host or port that is none.
    """
    shown = repr(text[:200])
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(
            f"{shown} is no origin such as https://shop.example: its host or port cannot be read"
        ) from None
    if parts.scheme not in _OWN_PORTS or not parts.netloc:
        raise ValueError(f"{shown} is no origin such as https://shop.example")
    if "@" in parts.netloc:
        raise ValueError(f"an origin has no credentials: {shown}")
    if parts.path or parts.query or parts.fragment or text != text.strip() or text[-1] in "/?#":
        raise ValueError(f"an origin is scheme, host and port alone, without a path or a slash at its end: {shown}")
    if port == 0 or not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise ValueError(f"the host or port of {shown} cannot be read")
    host = _read_host(parts.hostname or "", shown)
    return f"{parts.scheme}://{host}" if port in (None, _OWN_PORTS[parts.scheme]) else f"{parts.scheme}://{host}:{port}"


def normalise_origin(origin: str) -> str:
    """Return the value of an `Origin` header as stored origins are written.

    Browsers leave the scheme's own port out and send ASCII, so that only the letters' case can differ.
    """
    return origin.lower()


def _read_host(host: str, shown: str) -> str:
    if "*" in host:
        raise ValueError(f"an origin names one host, without a wildcard: {shown}")
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            raise ValueError(f"the host of {shown} is no IPv6 address") from None
    if not host.isascii():
        raise ValueError(
            f"browsers send international host names in ASCII (punycode, such as xn--bcher-kva.example): {shown}"
        )
    if _NUMERIC_END.search(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"the host of {shown} is no IPv4 address as browsers write it") from None
    if len(host) > _HOST_CHARACTERS_MAX or not _LABELS.fullmatch(host):
        raise ValueError(f"the host of {shown} is no host name")
    return host


def read_origin(url: str) -> str | None:
    """Return the origin of an absolute URL as browsers send it, None where it has none that they could send."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parse_origin(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    except ValueError:
        return None
