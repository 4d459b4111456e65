"""The client module /static/sluice.js, run in a real browser against a small HTTP and WebSocket server."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, jsonify
from playwright.sync_api import Browser, Page

from tests.support.chromium import launch_chromium
from tests.unit.web.false_backend import Backend

pytestmark = pytest.mark.browser

# Longest wait for something to happen; everything here takes well under two seconds on an idle machine.
DEADLINE_SECONDS = 20.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition()` is true and return its value; fails with `what` at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)
    return value


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launch_chromium()


@pytest.fixture
def page(browser: Browser, backend: Backend) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(backend.url)
    # The pauses between tries are random; small ones keep the tests short and their length the same.
    page.evaluate("() => { Math.random = () => 0.05; }")
    page.evaluate("async () => { window.sluice = await import('/static/sluice.js'); }")
    yield page
    page.close()


DEPOSIT = """async (options) => {
  try {
    return await sluice.deposit({ getToken: async () => 'ct_one', amount: '25.00', currency: 'USD', ...options });
  } catch (error) {
    return { name: error.name, status: error.status, errors: error.errors, message: error.message };
  }
}"""

WATCH = """(options) => {
  window.seen = { messages: [], states: [], resets: [], tokens: 0, errors: [] };
  window.handle = sluice.watch({
    getToken: async () => ({ token: `ct_${(seen.tokens += 1)}`, expires_at: '2099-01-01T00:00:00.000000Z' }),
    onMessage: (message) => seen.messages.push(message),
    onReset: (hello) => seen.resets.push(hello.last_id),
    onState: (state) => seen.states.push(state),
    onError: (error) => seen.errors.push(String(error)),
    ...options,
  });
}"""


def seen(page: Page) -> dict[str, Any]:
    result: dict[str, Any] = page.evaluate("() => ({ ...seen, lastId: handle.lastId })")
    return result


def ids(page: Page) -> list[int]:
    return [message["id"] for message in seen(page)["messages"]]


def message(number: int) -> dict[str, Any]:
    return {"id": number, "type": "payment.completed", "payment": {"id": f"p{number}"}, "at": "2025-01-01T00:00:00Z"}


def pending(status: int = 202) -> tuple[Response, int]:
    return jsonify({"id": "p1", "status": "pending", "redirect_url": None}), status


def refused(status: int, body: dict[str, Any], **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, mimetype="application/problem+json")


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
    told = page.evaluate(
        f"() => sluice.deposit({{ {failing}, amount: '1', currency: 'JPY' }}).catch((error) => error.message)"
    )
    assert told == "no session" or told.startswith("getToken() must give a client token")
    page.evaluate(
        WATCH.replace(
            "getToken: async () =>", f"getToken: () => seen.tokens < 2 ? (seen.tokens += 1, {TOKENLESS[kind]}) :"
        ),
        {},
    )
    until(lambda: seen(page)["states"][-1] == "live", "a socket with the third token")
    assert seen(page)["errors"] == [seen(page)["errors"][0]] * 2


def test_a_token_that_is_waited_for_in_vain_is_asked_for_again(backend: Backend, page: Page) -> None:
    page.evaluate("() => { const real = setTimeout; window.setTimeout = (run, ms) => real(run, ms / 100); }")
    hanging = "getToken: () => (seen.tokens += 1) === 1 ? new Promise(() => {}) :"
    page.evaluate(WATCH.replace("getToken: async () =>", hanging), {})
    until(lambda: seen(page)["states"][-1] == "live", "a socket with the second token")
    assert seen(page)["errors"] == ["Error: getToken() gave no token in time."]
    told = page.evaluate(
        """() => sluice.deposit({ getToken: () => new Promise(() => {}), amount: '1', currency: 'JPY' })
          .catch((error) => error.message)"""
    )
    assert told == "getToken() gave no token in time."


def test_watch_with_a_token_given_as_text_asks_where_the_sockets_are(backend: Backend, page: Page) -> None:
    other = Backend()
    try:
        backend.sockets_url = other.url
        page.evaluate(WATCH, {})
        page.evaluate("() => handle.close()")
        page.evaluate(
            WATCH.replace(
                "({ token: `ct_${(seen.tokens += 1)}`, expires_at: '2099-01-01T00:00:00.000000Z' })", "'ct_text'"
            ),
            {},
        )
        until(lambda: seen(page)["states"][-1] == "live", "live at the other base")
        assert [protocols[1] for _, protocols, _ in other.sockets] == ["sluice.token.ct_text"]
        other.sockets[0][2].put(1011)
        until(lambda: len(other.sockets) == 2, "a second socket")
        assert [path for _, path, *_ in backend.requests].count("/api/tickets") == 1
    finally:
        other.close()


def test_watch_finds_sockets_that_are_elsewhere_by_its_ticket(backend: Backend, page: Page) -> None:
    """A token object without `sockets_url` means the page's own base, where these sockets are not."""
    other = Backend()
    try:
        backend.refuse_sockets = True
        backend.sockets_url = other.url
        page.evaluate(WATCH, {})
        until(lambda: seen(page)["states"][-1] == "fallback", "the stream at the other base")
        assert len(other.streams) == 1
    finally:
        other.close()


def test_watch_waits_as_long_as_the_server_asks_for(backend: Backend, page: Page) -> None:
    backend.refuse_sockets = True
    backend.ticket_answers = [lambda: refused(503, {"title": "busy"}, **{"Retry-After": "1"})]
    page.evaluate(WATCH, {})
    until(lambda: any("503" in error or "busy" in error for error in seen(page)["errors"]), "the refusal is reported")
    refused_at = time.monotonic()
    until(lambda: seen(page)["states"][-1] == "fallback", "the stream")
    assert time.monotonic() - refused_at > 0.8


def test_a_failing_onerror_does_not_end_the_watching(backend: Backend, page: Page) -> None:
    failing = WATCH.replace(
        "seen.errors.push(String(error))", "{ seen.errors.push(String(error)); throw Error('page'); }"
    )
    page.evaluate(
        failing.replace("getToken: async () =>", "getToken: () => seen.tokens < 1 ? (seen.tokens += 1, null) :"), {}
    )
    until(lambda: seen(page)["states"][-1] == "live", "a socket with the second token")
    assert len(seen(page)["errors"]) == 1


@pytest.mark.parametrize("options", ["{}", "{ getToken: 'ct_1', onMessage() {} }", "{ getToken() {} }", "undefined"])
def test_watch_refuses_options_that_cannot_work(page: Page, options: str) -> None:
    assert (
        page.evaluate(f"() => {{ try {{ sluice.watch({options}); }} catch (error) {{ return error.name; }} }}")
        == "TypeError"
    )


@pytest.mark.parametrize("after", ["'x'", "-1", "1.5", "NaN"])
def test_watch_refuses_a_place_that_is_none(page: Page, after: str) -> None:
    call = f"sluice.watch({{ getToken() {{}}, onMessage() {{}}, after: {after} }})"
    assert page.evaluate(f"() => {{ try {{ {call}; }} catch (error) {{ return error.name; }} }}") == "TypeError"


def test_watch_resumes_where_it_was_and_hands_each_message_over_once(backend: Backend, page: Page) -> None:
    page.evaluate(WATCH, {"after": 3})
    after, protocols, queue = until(lambda: backend.sockets, "a first socket")[0]
    assert (after, protocols) == ("3", ["sluice.v1", "sluice.token.ct_1"])
    for number in (4, 5, 5, 4, 6):
        queue.put(message(number))
    until(lambda: ids(page) == [4, 5, 6], "messages 4, 5, 6 once each")
    backend.missed = [message(6), message(7)]
    queue.put(1011)
    until(lambda: len(backend.sockets) == 2, "a second socket")
    assert backend.sockets[1][0] == "6"
    until(lambda: ids(page) == [4, 5, 6, 7], "the missed message")
    assert seen(page)["states"] == ["connecting", "live", "reconnecting", "live"]
    assert seen(page)["resets"] == []
    page.evaluate("() => handle.close()")
    until(lambda: seen(page)["states"][-1] == "closed", "the closed state")
    assert len(backend.sockets) == 2


def test_watch_from_now_resumes_after_the_greeting_when_no_message_came(backend: Backend, page: Page) -> None:
    page.evaluate(WATCH, {})
    until(lambda: backend.sockets, "a first socket")[0][2].put(1012)
    until(lambda: len(backend.sockets) == 2, "a second socket")
    assert [after for after, *_ in backend.sockets] == [None, "7"]


def test_watch_reports_a_gap_and_goes_on_from_the_servers_last_id(backend: Backend, page: Page) -> None:
    backend.hello = {"resumed": False, "last_id": 2}
    page.evaluate(WATCH, {"after": 50})
    until(lambda: seen(page)["resets"] == [2], "the reset")
    backend.sockets[0][2].put(message(3))
    until(lambda: ids(page) == [3], "a message with a smaller id than before the reset")
    assert seen(page)["lastId"] == 3


def test_watch_takes_a_new_token_when_the_server_ends_the_old_one(backend: Backend, page: Page) -> None:
    page.evaluate(WATCH, {})
    until(lambda: backend.sockets, "a first socket")[0][2].put(4401)
    until(lambda: len(backend.sockets) == 2, "a second socket")
    assert backend.sockets[1][1][1] == "sluice.token.ct_2"


def test_watch_takes_a_new_token_when_the_handshake_is_refused(backend: Backend, page: Page) -> None:
    backend.good_tokens = {"ct_2"}
    page.evaluate(WATCH, {})
    until(lambda: seen(page)["states"][-1] == "live", "a socket with the second token")
    assert [protocols[1] for _, protocols, _ in backend.sockets] == ["sluice.token.ct_1", "sluice.token.ct_2"]


def test_watch_falls_back_to_the_stream_with_a_new_ticket_each_time(backend: Backend, page: Page) -> None:
    backend.refuse_sockets = True
    page.evaluate(WATCH, {"after": 0})
    until(lambda: len(backend.streams) == 1, "a stream")
    assert len(backend.sockets) == 3
    backend.streams[0][2].put(message(1))
    until(lambda: ids(page) == [1], "a message over the stream")
    assert seen(page)["states"][-1] == "fallback"
    backend.streams[0][2].put(None)
    until(lambda: len(backend.streams) == 2, "a second stream")
    assert [stream[:2] for stream in backend.streams] == [("0", "ticket-1"), ("1", "ticket-2")]
    backend.streams[1][2].put(message(2))
    until(lambda: ids(page) == [1, 2], "a message over the second stream")


def test_watch_goes_back_from_the_stream_to_the_socket(backend: Backend, page: Page) -> None:
    backend.refuse_sockets = True
    page.evaluate(WATCH, {"after": 0, "socketProbeMs": 300})
    until(lambda: seen(page)["states"][-1] == "fallback", "the stream")
    backend.streams[0][2].put(message(1))
    until(lambda: ids(page) == [1], "a message over the stream")
    backend.missed = [message(1)]
    backend.refuse_sockets = False
    until(lambda: seen(page)["states"][-1] == "live", "the socket again")
    assert backend.sockets[-1][0] == "1"
    backend.sockets[-1][2].put(message(2))
    until(lambda: ids(page) == [1, 2], "a message over the socket, none twice")


def test_a_failing_page_function_does_not_break_the_connection(backend: Backend, page: Page) -> None:
    failing = "{ seen.messages.push(message); throw Error('page'); }"
    page.evaluate(WATCH.replace("seen.messages.push(message)", failing), {})
    queue = until(lambda: backend.sockets, "a socket")[0][2]
    for number in (8, 9):
        queue.put(message(number))
    until(lambda: ids(page) == [8, 9], "both messages")
    assert seen(page)["errors"] == ["Error: page", "Error: page"]
    assert len(backend.sockets) == 1


@pytest.mark.parametrize(
    ("payment", "title", "tone"),
    [
        ({"status": "pending"}, "Asking the provider…", "open"),
        ({"status": "processing"}, "Confirming your payment…", "open"),
        ({"status": "completed"}, "1,234,567.50 USD is in your wallet", "done"),
        ({"status": "completed", "exception": "late"}, "1,234,567.50 USD is in your wallet", "done"),
        ({"status": "completed", "received_amount": "3.00"}, "3.00 USD is in your wallet", "done"),
        ({"status": "failed", "failure_reason": "card_declined"}, "The payment did not go through", "ended"),
        ({"status": "cancelled"}, "The payment was cancelled", "ended"),
        ({"status": "cancelled", "failure_reason": "expired"}, "Nobody paid in time", "ended"),
        ({"status": "processing", "exception": "underpaid"}, "Your payment is under review", "review"),
        ({"status": "completed", "exception": "conflict"}, "Your payment is under review", "review"),
        ({"status": "completed", "exception": "reversed"}, "1,234,567.50 USD was paid back", "ended"),
    ],
)
def test_the_demo_page_tells_each_state(page: Page, payment: dict[str, Any], title: str, tone: str) -> None:
    whole = {"amount": "1234567.50", "currency": "USD", "exception": None, "failure_reason": None, **payment}
    told = page.evaluate(
        "async (payment) => (await import('/static/demo/words.js')).journey(payment, 'success')", whole
    )
    assert (told["title"], told["tone"]) == (title, tone)


@pytest.mark.parametrize(
    ("field", "message", "text"),
    [
        (
            "amount",
            'must be a decimal string such as "25.00", without sign, blank or exponent',
            "Enter the amount in digits, for example 25.00.",
        ),
        ("amount", 'must be a decimal string such as "25.00"', "Enter the amount in digits, for example 25.00."),
        ("amount", "has more than the 0 decimals that JPY has", "Amounts in JPY have no decimals, for example 25."),
        ("amount", "has more than the 2 decimals that JPY has", "Amounts in JPY have at most 2 decimals."),
        ("amount", "must be greater than zero", "Enter an amount above zero."),
        ("amount", "must be at most 1000000 JPY", "Enter at most 1,000,000 JPY."),
        ("amount", "must be at least 100 JPY", "Enter at least 100 JPY."),
        ("amount", "is anything else", "Enter the amount in digits, for example 25.00."),
        ("currency", "is not supported by the provider", "This currency cannot be paid in here."),
        ("success_url", "must be an absolute URL", "The deposit was not accepted. Please check what you entered."),
    ],
)
def test_the_demo_page_words_errors_for_people(page: Page, field: str, message: str, text: str) -> None:
    error = {"field": field, "message": message}
    told = page.evaluate("async (error) => (await import('/static/demo/words.js')).errorText(error, 'JPY')", error)
    assert told == text


@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_the_demo_page_tells_no_error_of_a_program(page: Page, status: int) -> None:
    error = {"status": status, "message": "TypeError: x is not a function"}
    told = page.evaluate("async (error) => (await import('/static/demo/words.js')).failureText(error)", error)
    assert told.endswith(".")
    assert "TypeError" not in told


def test_the_demo_page_never_opens_an_address_that_is_no_web_page(page: Page) -> None:
    addresses = [None, "", "javascript:alert(1)", "data:text/html,x", "https://pay.example/p?x=1"]
    opened = page.evaluate(
        """async (addresses) => {
          const { payPage } = await import('/static/demo/view.js');
          return addresses.map((address) => payPage({ redirect_url: address }));
        }""",
        addresses,
    )
    assert opened == [None, None, None, None, "https://pay.example/p?x=1"]
