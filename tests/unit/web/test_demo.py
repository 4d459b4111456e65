"""The demo routes refuse everybody but the demo page on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.http.client_address import ClientAddress
from app.runtime.runtime import runtime
from app.web.routes.client_module import script_source
from app.web.routes.demo import DEMO_USER, demo, new_demo_user
from tests.support.repository import ROOT


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    # Nothing here connects: refusals come before any work, and the page is the same for everybody.
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SLUICE_PUBLIC_URL", "https://sluice.example")
    monkeypatch.setenv("SLUICE_SOCKETS_PUBLIC_URL", "https://live.example:8443")
    runtime.cache_clear()
    app = Flask("app", template_folder=str(ROOT / "app/web/templates"), static_folder=str(ROOT / "app/web/static"))
    app.register_blueprint(demo)
    yield app.test_client()
    runtime.cache_clear()


@pytest.mark.parametrize("path", ["/", "/demo", "/demo/providers"])
@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"])
def test_strangers_are_refused(client: FlaskClient, path: str, peer: str) -> None:
    assert client.get(path, environ_base={"REMOTE_ADDR": peer}).status_code == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_gets_the_page(client: FlaskClient, peer: str) -> None:
    assert client.get("/demo", environ_base={"REMOTE_ADDR": peer}).status_code == 200
    assert client.get("/", environ_base={"REMOTE_ADDR": peer}).headers["Location"] == "/demo"


@pytest.mark.parametrize(("host", "status"), [("localhost:8000", 200), ("sluice.example", 200), ("evil.example", 403)])
def test_a_foreign_name_for_this_machine_is_refused(client: FlaskClient, host: str, status: int) -> None:
    assert client.get("/demo", headers={"Host": host}).status_code == status


def test_another_name_of_this_machine_leads_to_the_public_one(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_PUBLIC_URL", "http://127.0.0.1:8000")
    runtime.cache_clear()
    moved = client.get("/demo?returned=success&payment_id=p%261", headers={"Host": "localhost:8000"})
    assert moved.headers["Location"] == "http://127.0.0.1:8000/demo?returned=success&payment_id=p%261"
    assert client.get("/demo", headers={"Host": "localhost:8000"}).headers["Location"] == "http://127.0.0.1:8000/demo"
    assert client.get("/demo", headers={"Host": "127.0.0.1:8000"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_other_sites_get_no_token(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/demo/token", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "Via"])
@pytest.mark.parametrize("path", ["/", "/demo", "/demo/providers", "/demo/token"])
def test_what_an_unnamed_proxy_passes_on_is_refused(client: FlaskClient, path: str, name: str) -> None:
    """Its address is this machine's, its client's is not."""
    method = "POST" if path == "/demo/token" else "GET"
    assert client.open(path, method=method, json={}, headers={name: "203.0.113.7"}).status_code == 403


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [("203.0.113.7", 403), ("127.0.0.1", 200), ("127.0.0.1:51008", 200), ("[::1]:51008", 200), ("nonsense", 403)],
)
def test_behind_a_named_proxy_its_word_counts(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, forwarded: str, status: int
) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "1")
    runtime.cache_clear()
    client.application.wsgi_app = ClientAddress(client.application.wsgi_app, 1)  # type: ignore[method-assign]
    assert client.get("/demo", headers={"X-Forwarded-For": forwarded}).status_code == status


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "[::1", "127.0.0.1@evil.example", ""])
def test_a_token_is_made_under_the_demos_own_name_only(client: FlaskClient, host: str) -> None:
    assert client.post("/demo/token", json={}, headers={"Host": host}).status_code in (400, 403)


def test_the_page_allows_nothing_inline_and_names_the_sockets(client: FlaskClient) -> None:
    answer = client.get("/demo?returned=success&payment_id=%3Cscript%3E")
    policy = answer.headers["Content-Security-Policy"]
    assert "connect-src 'self' https://live.example:8443 wss://live.example:8443" in policy
    assert "unsafe" not in policy
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    (inline,) = re.findall(r"<script(?![^>]* src=)[^>]*>(.*?)</script>", answer.text)
    assert script_source(inline) in policy
    assert answer.headers["Cache-Control"] == "no-store"


def test_new_demo_users_differ_and_are_known_again() -> None:
    users = {new_demo_user() for _ in range(50)}
    assert len(users) == 50
    assert all(DEMO_USER.fullmatch(user) for user in users)
