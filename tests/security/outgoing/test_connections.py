"""Connections to providers: used again where that is safe, replaced where they ended; a request stays one."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from app.core.errors import OutcomeUnknown
from app.providers.calls import connections
from app.providers.calls.outgoing import Outgoing
from tests.support.false_provider import OK, FalseServer, Talk, answer_with, open_server

HERE = frozenset({"127.0.0.1"})
HEAD = b"HTTP/1.1 200 OK\r\n"


def answer_each(content: bytes) -> Talk:
    """Answer every request of a connection with `content`."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(content)
        while connection.recv(65_536):
            connection.sendall(content)

    return talk


def ask(sender: Outgoing, server: FalseServer, **headers: str) -> bytes:
    return sender.send("POST", f"http://127.0.0.1:{server.port}/", headers, b"{}").body


KEPT = {
    "a length": OK,
    "created": b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nX: y\r\n\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
}
CLOSED = {
    "an older version": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a close": HEAD + b"Connection: Close\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize(
    ("content", "connections"), [(x, 1) for x in KEPT.values()] + [(x, 2) for x in CLOSED.values()]
)
def test_a_connection_is_used_again_only_after_a_whole_answer(content: bytes, connections: int) -> None:
    with open_server(answer_each(content)) as server:
        sender = Outgoing(HERE)
        assert [ask(sender, server) for _ in range(2)] == [b"{}"] * 2
        assert server.connections == connections


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    with open_server(answer_with(HEAD + b"\r\n{}")) as server:
        assert ask(Outgoing(HERE), server) == b"{}"


def test_a_connection_that_the_provider_has_closed_is_replaced() -> None:
    is_closed = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(OK)
        connection.close()
        is_closed.set()

    with open_server(talk) as server:
        sender = Outgoing(HERE)
        for _ in range(3):
            assert ask(sender, server) == b"{}"
            assert is_closed.wait(9)
            is_closed.clear()
        assert server.connections == 3


def test_idle_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ORIGINS_MAX", 2)
    sender = Outgoing(HERE)
    with contextlib.ExitStack() as opened:
        first, second, third = (opened.enter_context(open_server(answer_each(OK))) for _ in range(3))
        for server in (first, second, third, third, second, first):
            ask(sender, server)
        assert (first.connections, second.connections, third.connections) == (2, 1, 1)
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 0)
    with open_server(answer_each(OK)) as server:
        for _ in range(2):
            ask(sender, server)
        assert server.connections == 2


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nX: b", "a\rX: b", "a\r\n\r\nGET / HTTP/1.1"])
def test_a_header_cannot_become_two(value: str) -> None:
    with open_server(answer_with(OK)) as server:
        with pytest.raises(OutcomeUnknown):
            ask(Outgoing(HERE), server, Authorization=value)
        assert server.requests == []


def test_a_path_cannot_end_the_request_line() -> None:
    with open_server(answer_with(OK)) as server:
        Outgoing(HERE).send("GET", f"http://127.0.0.1:{server.port}/a b\r\nX: y?ä", {})
    assert server.requests[0].startswith(b"GET /a%20b%0D%0AX:%20y?%C3%A4 HTTP/1.1\r\n")
    assert b"\r\nX:" not in server.requests[0]
