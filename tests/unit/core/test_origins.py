"""Origins: what an operator writes becomes what browsers send, or is refused with a reason."""

from __future__ import annotations

import pytest

from app.core.validation.origins import parse_origin, read_origin


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.EXAMPLE", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("https://shop.example:0443", "https://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("https://shop.example:80", "https://shop.example:80"),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(given: str, sent: str) -> None:
    assert parse_origin(given) == sent
    assert read_origin(given + "/paid?order=1#x") == sent


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("https://*.shop.example", "wildcard"),
        ("*", "is no origin"),
        ("null", "is no origin"),
        ("", "is no origin"),
        ("shop.example", "is no origin"),
        ("//shop.example", "is no origin"),
        ("ftp://shop.example", "is no origin"),
        ("https:shop.example", "is no origin"),
        ("https://", "is no origin"),
        ("https://shop.example/", "path"),
        ("https://shop.example/shop", "path"),
        ("https://shop.example?", "path"),
        ("https://shop.example#", "path"),
        ("https://shop.example?x=1", "path"),
        ("https://user@shop.example", "credentials"),
        ("https://user:secret@shop.example", "credentials"),
        ("https://b\u00fccher.example", "punycode"),
        ("https://[::1", "cannot be read"),
        ("https://[::1]x", "cannot be read"),
        ("https://[shop.example]", "cannot be read"),
        ("https://shop.example:port", "cannot be read"),
        ("https://shop.example:65536", "cannot be read"),
        ("https://shop.example:", "cannot be read"),
        ("https://shop.example:0", "cannot be read"),
        ("https://shop example", "is no host name"),
        ("https://shop..example", "is no host name"),
        ("https://-shop.example", "is no host name"),
        ("https://" + "a" * 64 + ".example", "is no host name"),
        ("https://127.1", "IPv4"),
        ("https://0x7f.1", "IPv4"),
        ("https://shop.example,https://other.example", "path"),
        (" https://shop.example", "alone"),
        ("https://shop.example ", "alone"),
        ("https://shop\u2100.example", "cannot be read"),
    ],
)
def test_what_no_browser_sends_is_refused_with_a_reason(given: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_origin(given)
