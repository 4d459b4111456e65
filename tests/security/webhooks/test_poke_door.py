"""The door for notifications that nobody signs: without the URL nobody learns anything, with it nobody moves money."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from app.core.payment import Payment
from app.services.tenants import poke_tokens
from app.services.tenants.changes import ConfigurationError
from app.services.webhooks.kept_headers import keep_headers
from app.services.webhooks.pokes import POKE_BYTES_MAX
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.security.raw_http import build_request, send
from tests.support.clients.api import problem_of, without_request_id
from tests.support.mollie_provider import FORM, MollieProvider, make_mollie


@pytest.fixture
def mollie(web_stack: Stack, shop: Shop) -> MollieProvider:
    return make_mollie(web_stack, shop)


def known(stack: Stack, mollie: MollieProvider) -> tuple[Payment, str]:
    """Make a payment whose reference is known; no call is due for it."""
    payment, reference = mollie.deposit(), f"tr_{secrets.token_hex(8)}"
    values = {"id": payment.id, "reference": reference}
    stack.databases.rows(
        "update payment_transactions set status = 'processing', provider_reference = :reference where id = :id",
        **values,
    )
    stack.databases.rows("delete from payment_work where payment_id = :id", id=payment.id)
    return payment, reference


def effects(stack: Stack, mollie: MollieProvider) -> dict[str, int]:
    """Count all rows that a notification may have an effect on."""
    tables = ("payment_webhooks", "webhook_keys", "webhook_work", "dead_letters", "alerts")
    query = "select count(*) from {} where tenant_id = :id"
    return {table: stack.databases.value(query.format(table), id=mollie.shop.tenant_id) for table in tables}


def test_a_wrong_token_and_a_wrong_provider_are_not_there(web_stack: Stack, shop: Shop, mollie: MollieProvider) -> None:
    payment, reference = known(web_stack, mollie)
    before = effects(web_stack, mollie)
    base, other = f"{web_stack.web}/webhooks", make_mollie(web_stack, web_stack.make_shop())
    wrong = [
        f"{base}/{mollie.id}/{mollie.token[:-1]}",
        f"{base}/{mollie.id}/{mollie.token}x",
        f"{base}/{mollie.id}/{mollie.token.upper()}",
        f"{base}/{mollie.id}/{other.token}",
        f"{base}/{mollie.id}/{'x' * 3000}",
        f"{base}/{mollie.id}/%00%ff",
        # A provider whose webhooks are all signed, one that does not exist, and what is no id at all.
        f"{base}/{shop.provider_id}/{mollie.token}",
        f"{base}/{uuid.uuid4()}/{mollie.token}",
        f"{base}/mollie/{mollie.token}",
    ]
    answers = [mollie.poke(reference, url) for url in wrong]
    # Whatever else is wrong about it.
    answers += [mollie.poke(b"", wrong[0], {"content-type": "application/json"}), mollie.poke(b"", wrong[7])]
    assert [problem_of(answer, 404)["code"] for answer in answers] == ["provider_unknown"] * len(answers)
    assert {without_request_id(answer) for answer in answers} == {without_request_id(answers[0])}
    assert {tuple(sorted(answer.headers)) for answer in answers} == {tuple(sorted(answers[0].headers))}
    assert effects(web_stack, mollie) == before
    assert mollie.poke(reference).json() == {"received": True}
    row = web_stack.databases.rows("select * from payment_webhooks where payment_id = :id", id=payment.id)[0]
    assert (row["path"], bytes(row["body"]), row["status"]) == ("poke", f"id={reference}".encode(), "pending")


def test_neither_row_nor_log_nor_answer_has_the_token(web_stack: Stack, mollie: MollieProvider) -> None:
    _, reference = known(web_stack, mollie)
    wrong = f"{mollie.url}x"
    texts = [mollie.poke(reference).text, mollie.poke(reference, wrong).text, requests.get(mollie.url, timeout=20).text]
    # Requests that the server refuses before the application sees them.
    path = f"/webhooks/{mollie.id}/{mollie.token}"
    for head in (f"POST {path} HTTP/9.9", f"POST {path} HTTP/1.1\r\nNo header", f"POST {path} HTTP/1.1\r\nHost: a\x00"):
        texts.append(send(web_stack.web, f"{head}\r\n\r\n".encode())[1].decode("latin-1"))
    texts.append(web_stack.log_path("web").read_text(encoding="utf-8"))
    rows = web_stack.databases.rows("select table_name from information_schema.tables where table_schema = 'public'")
    for table in (row["table_name"] for row in rows):
        texts.append(str(web_stack.databases.value(f"select string_agg(t::text, ' ') from {table} t")))
    assert [text for text in texts if mollie.token in text or mollie.token.encode().hex() in text] == []
    stored = web_stack.databases.rows("select * from poke_tokens where provider_id = :id", id=mollie.id)
    assert [bytes(row["token_sha256"]) for row in stored] == [hashlib.sha256(mollie.token.encode()).digest()]
    assert len(mollie.token.removeprefix("whut_")) * 6 >= 128


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"id": "tr_1"}', {"content-type": "application/json"}, 415),
        (b"id=tr_1", {"content-type": "text/plain"}, 415),
        (b"id=tr_1", {}, 415),
        (b"id=", FORM, 400),
        (b"id=tr_1&id=tr_2", FORM, 400),
        (b"", FORM, 400),
        (b"id=tr_1" + b"&" * POKE_BYTES_MAX, FORM, 413),
    ],
)
def test_what_is_no_notification_of_the_provider_is_refused(
    web_stack: Stack, mollie: MollieProvider, body: bytes, headers: dict[str, str], status: int
) -> None:
    before = effects(web_stack, mollie)
    problem_of(mollie.poke(body, headers=headers), status)
    assert effects(web_stack, mollie) == before


def test_a_form_with_a_charset_is_a_form(web_stack: Stack, mollie: MollieProvider) -> None:
    _, reference = known(web_stack, mollie)
    assert mollie.poke(reference, headers={"content-type": FORM["content-type"] + "; charset=utf-8"}).status_code == 200
    doubled = [("Content-Type", FORM["content-type"]), ("Content-Type", FORM["content-type"])]
    path = f"/webhooks/{mollie.id}/{mollie.token}"
    assert send(web_stack.web, build_request(path, doubled, f"id={reference}".encode()))[0] == 400


def test_only_listed_addresses_may_poke(web_stack: Stack, mollie: MollieProvider) -> None:
    _, reference = known(web_stack, mollie)
    query = "update payment_providers set ip_allowlist = :networks where id = :id"
    web_stack.databases.rows(query, networks=["192.0.2.0/24"], id=mollie.id)
    problem_of(mollie.poke(reference), 403)
    problem_of(mollie.poke(reference, mollie.url + "x"), 404)


def test_a_rotated_url_overlaps_the_old_one(web_stack: Stack, mollie: MollieProvider) -> None:
    _, reference = known(web_stack, mollie)
    assert mollie.poke(reference).status_code == 200
    fresh = poke_tokens.rotate_token(web_stack.runtime, mollie.id, 3600, ACTOR)
    urls = [mollie.url, f"{web_stack.web}/webhooks/{mollie.id}/{fresh}"]
    assert [mollie.poke(reference, url).status_code for url in urls] == [200, 200]
    poke_tokens.rotate_token(web_stack.runtime, mollie.id, 0, ACTOR)
    for url in urls:
        wait_until(lambda url=url: mollie.poke(reference, url).status_code == 404, "it has ended", 5)  # type: ignore[misc]
    query = (
        "select actor, detail from audit_logs where kind = 'provider_poke_url_rotated' and tenant_id = :id order by id"
    )
    audited = web_stack.databases.rows(query, id=mollie.shop.tenant_id)
    assert [(row["actor"], row["detail"]["overlap_seconds"]) for row in audited] == [(ACTOR, 3600), (ACTOR, 0)]
    assert fresh not in str(audited)
    for provider_id in (mollie.shop.provider_id, uuid.uuid4()):
        with pytest.raises(ConfigurationError):
            poke_tokens.rotate_token(web_stack.runtime, provider_id, 0, ACTOR)


def test_ten_thousand_unknown_ids_are_few_rows_and_no_call(web_stack: Stack, mollie: MollieProvider) -> None:
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=8)
    session.mount("http://", adapter)

    def poke(number: int) -> int:
        body = f"id=tr_{number}{secrets.token_hex(4)}"
        return session.post(mollie.url, data=body, headers=FORM, timeout=30).status_code

    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(poke, range(10_000))) == {200}
    seconds = time.monotonic() - started
    kept = effects(web_stack, mollie)
    # One a second and process, and what had been saved up.
    processes = 4
    assert 1 <= kept["payment_webhooks"] <= processes * (seconds + 2)
    assert (kept["dead_letters"], kept["alerts"]) == (0, 0)
    assert web_stack.databases.value("select count(*) from payment_work where provider_id = :id", id=mollie.id) == 0


def test_a_flood_about_one_payment_is_one_row_and_one_look_up(web_stack: Stack, mollie: MollieProvider) -> None:
    payment, reference = known(web_stack, mollie)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: mollie.poke(reference), range(400)))
    assert {answer.status_code for answer in answers} == {200}
    kept = effects(web_stack, mollie)
    assert (kept["payment_webhooks"], kept["webhook_keys"], kept["webhook_work"]) == (1, 1, 1)
    named = web_stack.databases.rows("select payment_id from webhook_work where tenant_id = :id", id=payment.tenant_id)
    assert named == [{"payment_id": payment.id}]


def test_another_tenants_payment_is_an_unknown_one(web_stack: Stack, mollie: MollieProvider) -> None:
    other = make_mollie(web_stack, web_stack.make_shop())
    payment, reference = known(web_stack, other)
    before = effects(web_stack, other)
    assert mollie.poke(reference).status_code == 200
    assert effects(web_stack, other) == before
    query = "select count(*) from payment_webhooks where payment_id = :id"
    assert web_stack.databases.value(query, id=payment.id) == 0


def headers_of(stack: Stack, shop: Shop) -> list[dict[str, Any]]:
    rows = stack.databases.rows("select headers from payment_webhooks where tenant_id = :id", id=shop.tenant_id)
    return [row["headers"] for row in rows]


def test_credentials_in_headers_are_not_stored(web_stack: Stack, mollie: MollieProvider) -> None:
    _, reference = known(web_stack, mollie)
    secret = secrets.token_hex(16)
    sent = FORM | {"Authorization": f"Bearer {secret}", "Cookie": secret, "User-Agent": "Mollie HTTP client/1.0"}
    assert mollie.poke(reference, headers=sent).status_code == 200
    kept = {"content-type": FORM["content-type"], "user-agent": "Mollie HTTP client/1.0"}
    assert headers_of(web_stack, mollie.shop) == [kept]


def test_a_header_that_its_adapter_calls_a_credential_is_kept_as_a_hash() -> None:
    given = {"authorization": "Basic c2VjcmV0", "user-agent": "a", "x-signature": "b", "cookie": "c"}
    kept = keep_headers(given, ("x-signature", "authorization"), ("authorization", "verif-hash"))
    hashed = "sha256:" + hashlib.sha256(b"Basic c2VjcmV0").hexdigest()
    assert kept == {"x-signature": "b", "user-agent": "a", "authorization": hashed}
