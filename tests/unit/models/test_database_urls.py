"""URLs with one host, several, sockets and IPv6 addresses, as libpq and SQLAlchemy read them."""

from __future__ import annotations

import pytest
from psycopg2.extensions import parse_dsn
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from app.core.redaction import redact
from models.database_urls import DatabaseUrlError, list_hosts, parse_url

URLS = {
    "postgresql://u:p@h:6432/db": ["h"],
    "postgresql://u:p%40%2C@h1,h2:5433/db?target_session_attrs=read-write": ["h1", "h2"],
    "postgresql://u:p@h1:1,h2:2,h3:3/db?target_session_attrs=primary&sslmode=verify-full": ["h1", "h2", "h3"],
    "postgresql://u@[2001:db8::1]:1,[::1]/db": ["2001:db8::1", "::1"],
    "postgresql://h1,h2/db": ["h1", "h2"],
    "postgresql://u@/db?host=h1,h2&port=1,2": ["h1", "h2"],
    "postgresql://u@/db?host=/run/postgresql&port=5432": ["/run/postgresql"],
}


@pytest.mark.parametrize(("url", "hosts"), URLS.items(), ids=URLS)
def test_urls_mean_what_libpq_takes_them_for(url: str, hosts: list[str]) -> None:
    assert list_hosts(url) == hosts
    _, read = PGDialect_psycopg2().create_connect_args(parse_url(url))  # type: ignore[no-untyped-call]
    expected = parse_dsn(url)
    if len(hosts) > 1:
        # libpq gives a host without a port its own default; here it is spelled out.
        expected["port"] = ",".join(port or "5432" for port in expected.get("port", ",").split(","))
    assert {key: str(value) for key, value in read.items()} == expected


@pytest.mark.parametrize("url", ["", "nonsense", "postgresql://h1:x,h2/db", "postgresql://[::1,h2/db", "redis://h1,h2"])
def test_what_is_no_database_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlError):
        parse_url(url)


def test_the_password_of_a_url_with_several_hosts_is_redacted() -> None:
    assert "hidden" not in redact("could not connect to postgresql://login:hidden@h1:5432,h2:5433/db?x=1")
