"""Bounds of a provider's values that are stored with a payment; a value beyond them is refused, not truncated."""

from __future__ import annotations

import re
import urllib.parse

# 2,048 bytes in UTF-8: with the provider's id it fits into one entry of a PostgreSQL index (2,704 bytes).
REFERENCE_LENGTH_MAX = 512
# The longest URL that browsers, proxies and web servers all take.
REDIRECT_URL_LENGTH_MAX = 2_048
# A sentence or two on a small screen.
PROMPT_LENGTH_MAX = 200

# A URL is visible ASCII; browsers drop or reinterpret the rest (line ends, tabs, backslashes) before they follow it.
_REDIRECT_URL = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://[!-\[\]-~]+", re.ASCII)
# Host names in ASCII form, IPv4 and bracketed IPv6 addresses.
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)


def is_reference(value: object) -> bool:
    """Return whether `value` can be kept as a provider's reference."""
    return isinstance(value, str) and 0 < len(value) <= REFERENCE_LENGTH_MAX


def is_redirect_url(value: object) -> bool:
    """Return whether `value` is an absolute http or https URL that a browser may be sent to.

    At most REDIRECT_URL_LENGTH_MAX characters, visible ASCII, with a host and without credentials.
    """
    if not isinstance(value, str) or len(value) > REDIRECT_URL_LENGTH_MAX or not _REDIRECT_URL.fullmatch(value):
        return False
    try:
        parts = urllib.parse.urlsplit(value)
        host, port = parts.netloc.rpartition("@")[2], parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or port == 0:
        return False
    return _HOST.fullmatch(re.sub(r":[0-9]*\Z", "", host)) is not None
