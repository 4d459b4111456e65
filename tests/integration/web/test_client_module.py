"""The browser module as the product serves it to pages of other sites."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Error, Page, Route

from app.web.routes.client_module import client_module
from testbed.stack import Stack
from tests.support.repository import ROOT

SOURCE = ROOT / "app" / "web" / "static" / "sluice.js"
SHOP, PAY = "http://shop.example/", "http://pay.example"
IMPORT = "async () => Object.keys(await import('sluice'))"


@pytest.fixture
def shown(front: Stack) -> dict[str, Any]:
    """Give the import map that /docs shows."""
    page = requests.get(f"{front.web}/docs", timeout=20).text
    found = re.search(r'<script type="importmap">(.+?)</script>', html.unescape(page))
    assert found
    shown: dict[str, Any] = json.loads(found[1])
    return shown


def test_the_module_is_one_file_that_browsers_keep_for_a_year(front: Stack, shown: dict[str, Any]) -> None:
    url = shown["imports"]["sluice"]
    assert url == front.web + client_module().path
    answer = requests.get(url, headers={"Origin": "http://shop.example"}, timeout=20)
    assert answer.content == SOURCE.read_bytes()
    assert not re.search(rb"^\s*(import\b|export .+ from )", answer.content, re.MULTILINE), "it needs no other file"
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_the_url_without_a_version_is_asked_for_each_time(front: Stack) -> None:
    answer = requests.get(f"{front.web}/static/sluice.js", timeout=20)
    assert answer.content == SOURCE.read_bytes()
    assert answer.headers["Cache-Control"] == "no-cache"
    again = requests.get(answer.url, headers={"If-None-Match": answer.headers["ETag"]}, timeout=20)
    assert again.status_code == 304


@pytest.mark.parametrize("tag", ["0.0.1-0123456789ab", "", "..%2fsluice"])
def test_the_url_of_another_content_is_not_there(front: Stack, tag: str) -> None:
    answer = requests.get(f"{front.web}/static/sluice-{tag}.js", timeout=20)
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("Cache-Control", "")


def _open_shop(page: Page, front: Stack, import_map: dict[str, Any], added: bytes = b"") -> list[str]:
    """Open a page of another site, without TLS; return the list that its requests to us are put into."""
    asked: list[str] = []

    def serve(route: Route) -> None:
        asked.append(route.request.url)
        answer = route.fetch(url=route.request.url.replace(PAY, front.web))
        route.fulfill(response=answer, body=answer.body() + added)

    map_text = json.dumps(import_map).replace(front.web, PAY)
    page.route(f"{PAY}/**", serve)
    page.route(
        SHOP,
        lambda route: route.fulfill(body=f'<script type="importmap">{map_text}</script>', content_type="text/html"),
    )
    page.goto(SHOP)
    return asked


@pytest.mark.browser
def test_a_page_of_another_site_without_tls_imports_it_with_one_request(
    browser: Browser, front: Stack, shown: dict[str, Any]
) -> None:
    with browser.new_page() as page:
        asked = _open_shop(page, front, shown)
        assert page.evaluate("() => isSecureContext") is False
        assert {"deposit", "watch", "SluiceError"} <= set(page.evaluate(IMPORT))
        assert page.evaluate("async () => (await import('sluice')).randomUuid()") != ""
        assert asked == [PAY + client_module().path]


@pytest.mark.browser
def test_a_page_refuses_another_content_under_its_url(browser: Browser, front: Stack, shown: dict[str, Any]) -> None:
    with browser.new_page() as page:
        _open_shop(page, front, shown, added=b"\n")
        with pytest.raises(Error, match="Failed to fetch dynamically imported module"):
            page.evaluate(IMPORT)
