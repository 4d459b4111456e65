"""What of a provider's words is kept: references that are never cut, and URLs that a browser may be sent to."""

from __future__ import annotations

import pytest

from app.core.validation.provider_values import (
    REDIRECT_URL_LENGTH_MAX,
    REFERENCE_LENGTH_MAX,
    is_redirect_url,
    is_reference,
)

GOOD = [
    "https://pay.example/p/1",
    "http://127.0.0.1:8001/pay/sbx_1?x=1#y",
    "HTTPS://PAY.EXAMPLE",
    "https://[2001:db8::7]:8443/pay",
    "https://xn--bcher-kva.example/p?email=a@b.example",
    "https://pay.example/" + "x" * (REDIRECT_URL_LENGTH_MAX - len("https://pay.example/")),
]
BAD = [
    *(
        "",
        " ",
        "/pay/1",
        "//pay.example/1",
        "pay.example/1",
        "?x=1",
        "#",
        "https:",
        "https:/",
        "https://",
        "https:///p",
    ),
    *("javascript:alert(1)", "JavaScript:alert(1)//https://x", "data:text/html,x", "vbscript:x", "file:///etc/passwd"),
    *("ftp://pay.example/", "blob:https://pay.example/1", "intent://pay.example/", "mailto:a@b.example", "about:blank"),
    *("https:pay.example", "https:\\\\pay.example", "https://pay.example\\@evil.example/", "java\nscript:alert(1)"),
    *(
        "https://pay.example/\r\nSet-Cookie: a=b",
        "https://pay.example/a b",
        "https://pay.example/\t",
        "\thttps://a.example",
    ),
    *("https://pay.example/\x00", "https://pay.example/\x7f", "https://pay.example/\u202e", "https://pay.example/é"),
    *("https://pay.example@evil.example/", "https://user:pass@pay.example/", "https://@pay.example/"),
    *(
        "https://:443/",
        "https://[::1/",
        "https://pay.example:port/",
        "https://pay.example:99999/",
        "https://?x",
        "https://#",
    ),
    *(
        " https://pay.example/",
        "https://pay.example/ ",
        "https://pay.example/\n",
        "https://pay%2eexample/",
        "https://{x}/",
    ),
    "https://pay.example/" + "x" * REDIRECT_URL_LENGTH_MAX,
    "https://pay.example/" + "x" * 900_000,
]


@pytest.mark.parametrize("url", GOOD)
def test_absolute_web_urls_are_followed(url: str) -> None:
    assert is_redirect_url(url)


@pytest.mark.parametrize("url", BAD, ids=range(len(BAD)))
def test_no_browser_is_sent_anywhere_else(url: str) -> None:
    assert not is_redirect_url(url)


@pytest.mark.parametrize("value", [None, 1, True, [], {}, b"https://pay.example/", ["https://pay.example/"]])
def test_what_is_no_text_is_no_url_and_no_reference(value: object) -> None:
    assert not is_redirect_url(value)
    assert not is_reference(value)


def test_a_reference_has_one_bound() -> None:
    assert is_reference("x")
    assert is_reference("é" * REFERENCE_LENGTH_MAX)
    assert not is_reference("")
    assert not is_reference("x" * (REFERENCE_LENGTH_MAX + 1))
