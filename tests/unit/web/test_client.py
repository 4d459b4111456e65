"""The client module /static/sluice.js makes deposits, in a real browser against a small HTTP and WebSocket server."""

from __future__ import annotations

import time
import uuid

import pytest
from flask import Response
from playwright.sync_api import Page

from testbed.waiting import wait_until
from tests.unit.web.client_page import DEPOSIT, WATCH, pending, refused, seen
from tests.unit.web.false_backend import Backend

pytestmark = pytest.mark.browser


def test_deposit_repeats_a_refused_request_under_the_same_key_and_waits_for_the_redirect(
    backend: Backend, page: Page
) -> None:
    backend.deposit_answers = [
        lambda: refused(503, {"title": "busy"}, **{"Retry-After": "0"}),
        lambda: Response("torn {", 201, mimetype="application/json"),
        lambda: refused(429, {"title": "slow down"}, **{"Retry-After": "1"}),
        pending,
    ]
    started = time.monotonic()
    payment = page.evaluate(DEPOSIT, {"userId": "u1", "metadata": {"order": "7"}, "waitSeconds": 3})
    assert payment == {"id": "p1", "status": "processing", "redirect_url": "https://pay.example/1"}
    assert time.monotonic() - started >= 1.0, "Retry-After was not honoured"
    posts = [entry for entry in backend.requests if entry[0] == "POST"]
    assert len(posts) == 4
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in posts}) == 1
    for _, _, headers, body in posts:
        assert headers["Prefer"] == "wait=3"
        assert headers["Authorization"] == "Bearer ct_one"
        assert body == {"user_id": "u1", "amount": "25.00", "currency": "USD", "metadata": {"order": "7"}}


def test_deposit_hands_over_field_errors_at_once(backend: Backend, page: Page) -> None:
    errors = [{"field": "amount", "message": "JPY has no decimals"}]
    backend.deposit_answers = [lambda: refused(422, {"title": "Invalid", "detail": "Look", "errors": errors})]
    failure = page.evaluate(DEPOSIT, {"idempotencyKey": "mine"})
    assert failure == {"name": "SluiceError", "status": 422, "errors": errors, "message": "Look"}
    posts = [headers for method, _, headers, _ in backend.requests if method == "POST"]
    assert [headers["Idempotency-Key"] for headers in posts] == ["mine"]


def test_deposit_takes_a_new_token_once_when_the_first_is_refused(backend: Backend, page: Page) -> None:
    backend.deposit_answers = [lambda: refused(401, {"title": "token ended"}), lambda: pending(201)]
    tokens = page.evaluate(
        """async () => {
          const hints = [];
          const getToken = async ({ refresh }) => { hints.push(refresh); return `ct_${hints.length}`; };
          await sluice.deposit({ getToken, amount: '1', currency: 'JPY' });
          return hints;
        }"""
    )
    assert tokens[:2] == [False, True]
    posts = [headers for method, _, headers, _ in backend.requests if method == "POST"]
    assert [headers["Authorization"] for headers in posts] == ["Bearer ct_1", "Bearer ct_2"]
    assert len({headers["Idempotency-Key"] for headers in posts}) == 1


def test_deposit_stops_when_it_is_aborted(backend: Backend, page: Page) -> None:
    backend.deposit_answers = [lambda: refused(503, {}, **{"Retry-After": "30"})]
    name = page.evaluate(
        """async () => {
          const control = new AbortController();
          setTimeout(() => control.abort(), 300);
          const options = { getToken: () => 'ct_1', amount: '1', currency: 'JPY', signal: control.signal };
          return sluice.deposit(options).catch((error) => error.name);
        }"""
    )
    assert name == "AbortError"
    assert len(backend.deposit_answers) == 0


def test_deposit_works_on_a_page_without_tls(backend: Backend, page: Page) -> None:
    """Browsers have crypto.randomUUID in secure contexts only."""
    page.evaluate("() => { delete Crypto.prototype.randomUUID; }")
    backend.deposit_answers = [pending, pending]
    for user in ("u1", "u2"):
        assert page.evaluate(DEPOSIT, {"userId": user})["status"] == "processing"
    keys = [headers["Idempotency-Key"] for method, _, headers, _ in backend.requests if method == "POST"]
    assert len({uuid.UUID(key) for key in keys if uuid.UUID(key).version == 4}) == 2


def test_deposit_hands_over_the_payment_while_the_provider_is_slow(backend: Backend, page: Page) -> None:
    backend.deposit_answers = [pending, lambda: pending(201)]
    given = page.evaluate(
        """async () => {
          const given = [];
          const onPending = (one) => given.push(one.id);
          const options = { getToken: () => 'ct_1', amount: '1', currency: 'JPY', onPending };
          await sluice.deposit(options);
          return given;
        }"""
    )
    assert given == ["p1"]


TOKENLESS = {
    "null": "null",
    "nothing": "undefined",
    "an empty text": "''",
    "a text that is no token": "'Bearer ct_1'",
    "an object without one": "({})",
    "a token that is no text": "({ token: 7 })",
    "a rejection": "Promise.reject(Error('no session'))",
    "an exception": "(() => { throw Error('no session'); })()",
}


@pytest.mark.parametrize("kind", TOKENLESS)
def test_a_token_that_never_comes_ends_a_deposit_and_watching_tries_again(
    backend: Backend, page: Page, kind: str
) -> None:
    failing = f"getToken: () => {TOKENLESS[kind]}"
    reported = page.evaluate(
        f"() => sluice.deposit({{ {failing}, amount: '1', currency: 'JPY' }}).catch((error) => error.message)"
    )
    assert reported == "no session" or reported.startswith("getToken() must give a client token")
    page.evaluate(
        WATCH.replace(
            "getToken: async () =>", f"getToken: () => seen.tokens < 2 ? (seen.tokens += 1, {TOKENLESS[kind]}) :"
        ),
        {},
    )
    wait_until(lambda: seen(page)["states"][-1] == "live", "a socket with the third token")
    assert seen(page)["errors"] == [seen(page)["errors"][0]] * 2


def test_a_token_that_is_waited_for_in_vain_is_asked_for_again(backend: Backend, page: Page) -> None:
    page.evaluate("() => { const real = setTimeout; window.setTimeout = (run, ms) => real(run, ms / 100); }")
    hanging = "getToken: () => (seen.tokens += 1) === 1 ? new Promise(() => {}) :"
    page.evaluate(WATCH.replace("getToken: async () =>", hanging), {})
    wait_until(lambda: seen(page)["states"][-1] == "live", "a socket with the second token")
    assert seen(page)["errors"] == ["Error: getToken() gave no token in time."]
    reported = page.evaluate(
        """() => sluice.deposit({ getToken: () => new Promise(() => {}), amount: '1', currency: 'JPY' })
          .catch((error) => error.message)"""
    )
    assert reported == "getToken() gave no token in time."
