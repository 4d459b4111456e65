"""Addresses as clients and proxies write them, read the same at every door."""

from __future__ import annotations

import pytest

from app.core.validation.addresses import UNKNOWN, find_client_address, is_loopback_address, parse_address, url_host


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51008", "203.0.113.7"),
        (" 203.0.113.7\t", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ('"[2001:db8::7]:443"', "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::FFFF:203.0.113.7]:51008", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("2001:db8::7:443", "2001:db8::7:443"),
    ],
)
def test_every_form_of_an_address_is_the_address(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "_hidden", "localhost", "203.0.113", "203.0.113.256", "203.0.113.07", "203.0.113.7:"),
        *("203.0.113.7:x", "203.0.113.7:65536", "203.0.113.7:1:2", "[203.0.113.7]", "[203.0.113.7]:80", "[]", "[]:1"),
        *("[2001:db8::7", "2001:db8::7]", "[2001:db8::7]443", "[2001:db8::7]:x", "[[::1]]", "12345", "0x7f.1"),
        *("203.0.113.7%eth0", "203.0.113.7\n", "\u0661.2.3.4", "1" * 10_000, "[" * 10_000, "::1/128", "203.0.113.7,1"),
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None
    assert not is_loopback_address(text)


@pytest.mark.parametrize(
    ("peer", "forwarded", "hops", "client"),
    [
        # Without a proxy its header is nobody's word.
        ("198.51.100.1", "203.0.113.7", 0, "198.51.100.1"),
        ("::ffff:198.51.100.1", None, 0, "198.51.100.1"),
        ("", None, 0, UNKNOWN),
        # Exactly the configured number of hops counts, from the right.
        ("10.0.0.1", "203.0.113.7", 1, "203.0.113.7"),
        ("10.0.0.1", "127.0.0.1, 203.0.113.7:51008", 1, "203.0.113.7"),
        ("10.0.0.1", "127.0.0.1,[2001:db8::7]:443,10.0.0.2", 2, "2001:db8::7"),
        # Fewer entries than hops: it did not pass all of them, and the proxy's own address is not the client's.
        ("127.0.0.1", "203.0.113.7", 2, UNKNOWN),
        ("127.0.0.1", "", 1, UNKNOWN),
        ("127.0.0.1", "nonsense", 1, UNKNOWN),
        ("127.0.0.1", "203.0.113.7,", 1, UNKNOWN),
        ("198.51.100.1", None, 1, "198.51.100.1"),
    ],
)
def test_the_client_is_who_the_configured_proxies_name(
    peer: str, forwarded: str | None, hops: int, client: str
) -> None:
    assert find_client_address(peer, forwarded, hops) == client


@pytest.mark.parametrize("text", ["127.0.0.1", "127.9.9.9", "::1", "[::1]:80", "::ffff:127.0.0.1", "127.0.0.1:80"])
def test_this_machine_is_known_in_every_form(text: str) -> None:
    assert is_loopback_address(text)


def test_hosts_are_written_as_urls_write_them() -> None:
    hosts = ("::1", "[::1]", "127.0.0.1", "shop.example")
    assert [url_host(host) for host in hosts] == ["[::1]", "[::1]", "127.0.0.1", "shop.example"]
