"""Parses URLs of Redis and of the broker, and converts them for each client. Standard library only.

`redis://`, `rediss://` and `unix://` are as redis-py has them. Sentinel is `sentinel://[user:password@]host:26379;
sentinel://host:26379[/db][?master_name=NAME&sentinel_password=...]`: user and password are the master's.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field

from app.core.validation.addresses import url_host

SENTINEL_PORT = 26379
MASTER_NAME = "mymaster"  # The name in Redis' example sentinel.conf.
REDIS_SCHEMES = ("redis", "rediss", "unix", "sentinel")
AMQP_SCHEMES = ("amqp", "amqps")
# Allowed query parameters: options of redis-py that take text or numbers.
_OPTIONS = frozenset(
    {
        *("db", "protocol", "client_name", "health_check_interval", "max_connections"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "retry_on_timeout"),
        *("ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"),
        *("username", "password"),
    }
)
_SENTINEL_OPTIONS = frozenset({"master_name", "sentinel_username", "sentinel_password"})
_CERT_REQS = {"none", "optional", "required"}


@dataclass(frozen=True)
class Sentinels:
    """Addresses of sentinels, and the login at the master that they name."""

    addresses: tuple[tuple[str, int], ...]
    master_name: str
    db: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    # The login at the sentinels themselves.
    own_options: dict[str, str] = field(repr=False)


def is_redis(url: str) -> bool:
    """Return whether the URL is of Redis."""
    return url.partition("://")[0] in REDIS_SCHEMES


def is_amqp(url: str) -> bool:
    """Return whether the URL is of an AMQP broker (RabbitMQ)."""
    return url.partition("://")[0] in AMQP_SCHEMES


def check_url(url: str, *, may_be_amqp: bool) -> None:
    """Raise ValueError with one line if the URL cannot be used; the line repeats no part that may hold a password."""
    scheme = url.partition("://")[0] if "://" in url else ""
    known = REDIS_SCHEMES + (AMQP_SCHEMES if may_be_amqp else ())
    if scheme not in known:
        raise ValueError(f"must begin with {', '.join(f'{name}://' for name in known)}")
    if scheme == "sentinel":
        read_sentinels(url)
        return
    parts = _split(url)
    if scheme == "unix":
        if not parts.path:
            raise ValueError("names no socket: unix:///path/of/the.sock")
    elif not parts.hostname:
        raise ValueError("names no host")
    if scheme in REDIS_SCHEMES:
        _check_options(parts, _OPTIONS)
        if scheme != "unix":
            _read_db(parts)


def redis_py_url(url: str) -> str:
    """Return a URL for redis-py, with its values of `ssl_cert_reqs`."""
    parts = _split(url)
    options = dict(urllib.parse.parse_qsl(parts.query))
    if "ssl_cert_reqs" not in options:
        return url
    options["ssl_cert_reqs"] = _cert_reqs(options["ssl_cert_reqs"])
    return parts._replace(query=urllib.parse.urlencode(options)).geturl()


def kombu_url(url: str) -> str:
    """Return a URL for Celery's transports: other schemes for sockets and sentinels, and explicit TLS options."""
    if url.startswith("unix://"):
        return "redis+socket://" + url.removeprefix("unix://")
    if url.startswith("sentinel://"):
        found = read_sentinels(url)
        login = ""
        if found.username or found.password:
            user = urllib.parse.quote(found.username or "", safe="")
            login = f"{user}:{urllib.parse.quote(found.password or '', safe='')}@"
        return ";".join(f"sentinel://{login}{url_host(host)}:{port}/{found.db}" for host, port in found.addresses)
    if url.startswith("rediss://"):
        parts = _split(redis_py_url(url))
        # Without it kombu connects without TLS.
        options = {"ssl_cert_reqs": "required", **dict(urllib.parse.parse_qsl(parts.query))}
        return parts._replace(query=urllib.parse.urlencode(options)).geturl()
    return url


def read_sentinels(url: str) -> Sentinels:
    """Read a Sentinel URL. Raise ValueError with one line."""
    parts = [_split(part if "://" in part else f"sentinel://{part}") for part in url.split(";") if part]
    if any(part.scheme != "sentinel" for part in parts):
        raise ValueError("names a server that is no sentinel:// among sentinels")
    if not all(part.hostname for part in parts):
        raise ValueError("names no host")
    options: dict[str, str] = {}
    for part in parts:
        options |= _check_options(part, _SENTINEL_OPTIONS)
    login = next((part for part in parts if part.username or part.password), parts[0])
    own = {name: options[f"sentinel_{name}"] for name in ("username", "password") if options.get(f"sentinel_{name}")}
    return Sentinels(
        addresses=tuple((str(part.hostname), part.port or SENTINEL_PORT) for part in parts),
        master_name=options.get("master_name") or MASTER_NAME,
        db=next((db for part in reversed(parts) if (db := _read_db(part))), 0),
        username=urllib.parse.unquote(login.username) if login.username else None,
        password=urllib.parse.unquote(login.password) if login.password else None,
        own_options=own,
    )


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError as error:
        # urllib's message repeats the presumed port, which may be a part of a password.
        word = "port" if "ort" in str(error) else "host"
        raise ValueError(f"has no usable {word}; special characters in a password are written as %XX") from None
    return parts


def _read_db(parts: urllib.parse.SplitResult) -> int:
    text = parts.path.strip("/")
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"names the database {text!r}, which is no number")
    return int(text or 0)


def _check_options(parts: urllib.parse.SplitResult, known: frozenset[str]) -> dict[str, str]:
    options = dict(urllib.parse.parse_qsl(parts.query))
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"has the unknown option {unknown[0]!r}")
    if "ssl_cert_reqs" in options:
        _cert_reqs(options["ssl_cert_reqs"])
    return options


def _cert_reqs(value: str) -> str:
    word = value.lower().removeprefix("cert_")
    if word not in _CERT_REQS:
        raise ValueError(f"has ssl_cert_reqs={value!r}: it is none, optional or required")
    return word
