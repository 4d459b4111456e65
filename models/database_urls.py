"""Converts database URLs from libpq's form, which may name several hosts, to SQLAlchemy's."""

from __future__ import annotations

import re

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg2"
PORT = "5432"  # libpq's own default.

# Two hosts or more: libpq tries them in their order until one fits target_session_attrs.
_SEVERAL_HOSTS = re.compile(
    r"(?P<scheme>[a-z0-9+]+)://(?:(?P<login>.*)@)?(?P<hosts>[^/?@]+,[^/?@]+)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")


class DatabaseUrlError(ValueError):
    """A URL that names no PostgreSQL database; the message does not repeat it, since it may hold a password."""


def parse_url(url: str) -> URL:
    """Return `url` with the psycopg2 driver; SQLAlchemy would take another one for a plain `postgresql://`.

    Raise DatabaseUrlError.
    """
    try:
        parsed = make_url(_join_hosts(url))
    except (ArgumentError, ValueError):
        raise DatabaseUrlError("is no URL of the form postgresql://login:password@host:port/database") from None
    if parsed.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise DatabaseUrlError(f"is no PostgreSQL URL: it begins with {parsed.drivername}://")
    return parsed.set(drivername=DRIVER)


def psycopg2_url(url: str) -> str:
    """Return `url` as SQLAlchemy reads it, with the driver and the password. Raise DatabaseUrlError."""
    return parse_url(url).render_as_string(hide_password=False)


def list_hosts(url: str) -> list[str]:
    """Return the hosts that `url` names, in their order; a path is a socket's folder. Raise DatabaseUrlError."""
    parsed = parse_url(url)
    named = parsed.query.get("host", parsed.host or "")
    hosts = [named] if isinstance(named, str) else list(named)
    return [host for each in hosts for host in each.split(",")]


def _join_hosts(url: str) -> str:
    """Move several hosts into the query: SQLAlchemy reads one host between `@` and `/`."""
    found = _SEVERAL_HOSTS.fullmatch(url)
    if found is None:
        return url
    hosts = [_HOST.fullmatch(each) for each in found["hosts"].split(",")]
    if not all(hosts):
        raise DatabaseUrlError("names several hosts, and one of them cannot be read")
    names = ",".join(each["v6"] or each["name"] or "" for each in hosts if each)
    ports = ",".join(each["port"] or PORT for each in hosts if each)
    login = f"{found['login']}@" if found["login"] else ""
    query = f"host={names}&port={ports}" + (f"&{found['query']}" if found["query"] else "")
    return f"{found['scheme']}://{login}{found['path'] or '/'}?{query}"
