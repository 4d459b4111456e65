"""The client module /static/sluice.js watches payments over sockets and streams, in a real browser."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page

from testbed.waiting import wait_until
from tests.unit.web.client_page import WATCH, ids, message, refused, seen
from tests.unit.web.false_backend import Backend

pytestmark = pytest.mark.browser


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
        wait_until(lambda: seen(page)["states"][-1] == "live", "live at the other base")
        assert [protocols[1] for _, protocols, _ in other.sockets] == ["sluice.token.ct_text"]
        other.sockets[0][2].put(1011)
        wait_until(lambda: len(other.sockets) == 2, "a second socket")
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
        wait_until(lambda: seen(page)["states"][-1] == "fallback", "the stream at the other base")
        assert len(other.streams) == 1
    finally:
        other.close()


def test_watch_prefers_the_address_of_a_ticket_to_that_of_its_token(backend: Backend, page: Page) -> None:
    other = Backend()
    try:
        backend.refuse_sockets = True
        backend.sockets_url = other.url
        older = WATCH.replace("expires_at:", "sockets_url: location.origin, expires_at:")
        page.evaluate(older, {})
        wait_until(lambda: seen(page)["states"][-1] == "fallback", "the stream at the newer base")
        assert (len(other.streams), len(backend.streams)) == (1, 0)
    finally:
        other.close()


def test_watch_waits_as_long_as_the_server_asks_for(backend: Backend, page: Page) -> None:
    backend.refuse_sockets = True
    backend.ticket_answers = [lambda: refused(503, {"title": "busy"}, **{"Retry-After": "1"})]
    page.evaluate(WATCH, {})
    wait_until(
        lambda: any("503" in error or "busy" in error for error in seen(page)["errors"]), "the refusal is reported"
    )
    refused_at = time.monotonic()
    wait_until(lambda: seen(page)["states"][-1] == "fallback", "the stream")
    assert time.monotonic() - refused_at > 0.8


def test_a_failing_onerror_does_not_end_the_watching(backend: Backend, page: Page) -> None:
    failing = WATCH.replace(
        "seen.errors.push(String(error))", "{ seen.errors.push(String(error)); throw Error('page'); }"
    )
    page.evaluate(
        failing.replace("getToken: async () =>", "getToken: () => seen.tokens < 1 ? (seen.tokens += 1, null) :"), {}
    )
    wait_until(lambda: seen(page)["states"][-1] == "live", "a socket with the second token")
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
    after, protocols, queue = wait_until(lambda: backend.sockets, "a first socket")[0]
    assert (after, protocols) == ("3", ["sluice.v1", "sluice.token.ct_1"])
    for number in (4, 5, 5, 4, 6):
        queue.put(message(number))
    wait_until(lambda: ids(page) == [4, 5, 6], "messages 4, 5, 6 once each")
    backend.missed = [message(6), message(7)]
    queue.put(1011)
    wait_until(lambda: len(backend.sockets) == 2, "a second socket")
    assert backend.sockets[1][0] == "6"
    wait_until(lambda: ids(page) == [4, 5, 6, 7], "the missed message")
    assert seen(page)["states"] == ["connecting", "live", "reconnecting", "live"]
    assert seen(page)["resets"] == []
    page.evaluate("() => handle.close()")
    wait_until(lambda: seen(page)["states"][-1] == "closed", "the closed state")
    assert len(backend.sockets) == 2


def test_watch_from_now_resumes_after_the_greeting_when_no_message_came(backend: Backend, page: Page) -> None:
    page.evaluate(WATCH, {})
    wait_until(lambda: backend.sockets, "a first socket")[0][2].put(1012)
    wait_until(lambda: len(backend.sockets) == 2, "a second socket")
    assert [after for after, *_ in backend.sockets] == [None, "7"]


def test_watch_reports_a_gap_and_continues_from_the_servers_last_id(backend: Backend, page: Page) -> None:
    backend.hello = {"resumed": False, "last_id": 2}
    page.evaluate(WATCH, {"after": 50})
    wait_until(lambda: seen(page)["resets"] == [2], "the reset")
    backend.sockets[0][2].put(message(3))
    wait_until(lambda: ids(page) == [3], "a message with a smaller id than before the reset")
    assert seen(page)["lastId"] == 3


def test_watch_takes_a_new_token_when_the_server_ends_the_old_one(backend: Backend, page: Page) -> None:
    page.evaluate(WATCH, {})
    wait_until(lambda: backend.sockets, "a first socket")[0][2].put(4401)
    wait_until(lambda: len(backend.sockets) == 2, "a second socket")
    assert backend.sockets[1][1][1] == "sluice.token.ct_2"


def test_watch_takes_a_new_token_when_the_handshake_is_refused(backend: Backend, page: Page) -> None:
    backend.good_tokens = {"ct_2"}
    page.evaluate(WATCH, {})
    wait_until(lambda: seen(page)["states"][-1] == "live", "a socket with the second token")
    assert [protocols[1] for _, protocols, _ in backend.sockets] == ["sluice.token.ct_1", "sluice.token.ct_2"]


def test_watch_falls_back_to_the_stream_with_a_new_ticket_each_time(backend: Backend, page: Page) -> None:
    backend.refuse_sockets = True
    page.evaluate(WATCH, {"after": 0})
    wait_until(lambda: len(backend.streams) == 1, "a stream")
    assert len(backend.sockets) == 3
    backend.streams[0][2].put(message(1))
    wait_until(lambda: ids(page) == [1], "a message over the stream")
    assert seen(page)["states"][-1] == "fallback"
    backend.streams[0][2].put(None)
    wait_until(lambda: len(backend.streams) == 2, "a second stream")
    assert [stream[:2] for stream in backend.streams] == [("0", "ticket-1"), ("1", "ticket-2")]
    backend.streams[1][2].put(message(2))
    wait_until(lambda: ids(page) == [1, 2], "a message over the second stream")


def test_watch_goes_back_from_the_stream_to_the_socket(backend: Backend, page: Page) -> None:
    backend.refuse_sockets = True
    page.evaluate(WATCH, {"after": 0, "socketProbeMs": 300})
    wait_until(lambda: seen(page)["states"][-1] == "fallback", "the stream")
    backend.streams[0][2].put(message(1))
    wait_until(lambda: ids(page) == [1], "a message over the stream")
    backend.missed = [message(1)]
    backend.refuse_sockets = False
    wait_until(lambda: seen(page)["states"][-1] == "live", "the socket again")
    assert backend.sockets[-1][0] == "1"
    backend.sockets[-1][2].put(message(2))
    wait_until(lambda: ids(page) == [1, 2], "a message over the socket, none twice")


def test_a_failing_page_function_does_not_break_the_connection(backend: Backend, page: Page) -> None:
    failing = "{ seen.messages.push(message); throw Error('page'); }"
    page.evaluate(WATCH.replace("seen.messages.push(message)", failing), {})
    queue = wait_until(lambda: backend.sockets, "a socket")[0][2]
    for number in (8, 9):
        queue.put(message(number))
    wait_until(lambda: ids(page) == [8, 9], "both messages")
    assert seen(page)["errors"] == ["Error: page", "Error: page"]
    assert len(backend.sockets) == 1
