"""Answers of any status and form: bounded in bytes and time, and never an exception that the caller does not know."""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc

import pytest

from app.core.errors import OutcomeUnknown
from app.core.schedule import RETRY_AFTER_SECONDS_MAX
from app.providers.calls import outgoing
from app.providers.calls.outgoing import Outgoing, ProviderAnswer, parse_retry_after
from tests.support.false_provider import OK, FalseServer, Talk, answer_with, open_server

# What the environment of a development stack lets through.
HERE = frozenset({"127.0.0.1"})

# What an answer could cost us: three hundred times what one may have.
FLOOD_BYTES = 300 * 1024 * 1024
PIECE = b"x" * 65_536
# The bound on an answer, and what the sockets' buffers of both sides hold of what was sent in vain.
SENT_BYTES_MAX = outgoing.RESPONSE_BYTES_MAX + outgoing.OVERHEAD_BYTES_MAX + 16 * 1024 * 1024
HELD_BYTES_MAX = 8 * 1024 * 1024

STATUSES = (200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308)
STATUSES += (400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 101, 103)
FORMS = {
    "length": (b"Content-Length: %d\r\n" % FLOOD_BYTES, PIECE),
    "chunks": (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n" % (len(PIECE), PIECE)),
    "endless": (b"", PIECE),
    "packed": (b"Content-Encoding: gzip\r\n", PIECE),
}


def flood(head: bytes, piece: bytes, sent: list[int]) -> Talk:
    """Send `head`, then `piece` up to FLOOD_BYTES or until nobody reads any more; `sent` gets the bytes that went."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        while sum(sent) < FLOOD_BYTES:
            sent.append(connection.send(piece))

    return talk


def ask(server: FalseServer) -> ProviderAnswer | OutcomeUnknown:
    try:
        return Outgoing(HERE).send("POST", f"http://127.0.0.1:{server.port}/", {}, b"{}")
    except OutcomeUnknown as error:
        return error


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_flood_is_cut_whatever_its_status(status: int, form: str) -> None:
    sent: list[int] = []
    fields, piece = FORMS[form]
    head = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\n%s\r\n" % (status, fields)
    tracemalloc.start()
    try:
        with open_server(flood(head, piece, sent)) as server:
            found = ask(server)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < HELD_BYTES_MAX
    assert sum(sent) < SENT_BYTES_MAX
    if isinstance(found, ProviderAnswer):
        # What has its meaning without a body keeps it.
        assert found.status == status
        assert len(found.body) <= outgoing.RESPONSE_BYTES_MAX
    else:
        assert 200 <= status < 300


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "interim answers with headers": (b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 1000),
    "one header line": (b"HTTP/1.1 200 OK\r\nX: ", PIECE),
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "a status line": (b"", PIECE),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n" * 1000),
    "a chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 65_536),
    "a chunk's extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=", b"y" * 65_536),
    "chunks of one byte": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;x=yyyyyy\r\nz\r\n" * 1000),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_surrounds_a_body_is_bounded_as_well(kind: str) -> None:
    sent: list[int] = []
    with open_server(flood(*ENDLESS[kind], sent)) as server:
        started = time.monotonic()
        assert isinstance(ask(server), OutcomeUnknown)
        assert time.monotonic() - started < outgoing.TOTAL_SECONDS
    assert sum(sent) < SENT_BYTES_MAX


@pytest.mark.parametrize("status", [200, 307, 404, 500])
def test_a_connection_that_is_kept_open_ends_with_the_call(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The ten seconds of production would make this test long.
    monkeypatch.setattr(outgoing, "TOTAL_SECONDS", 0.5)

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\n{" % status)
        connection.recv(1)

    with open_server(talk) as server:
        started = time.monotonic()
        found = ask(server)
        assert time.monotonic() - started < 8.0
    assert isinstance(found, OutcomeUnknown) if status == 200 else found.status == status  # type: ignore[union-attr]


HEAD = b"HTTP/1.1 200 OK\r\n"
ODD = {
    "a redirect to nowhere": b"HTTP/1.1 307 X\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "a redirect in other bytes": b"HTTP/1.1 302 X\r\nLocation: \xff\xfe\xc3\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a port that is none": b"HTTP/1.1 308 X\r\nLocation: http://a:b/\r\nContent-Length: 0\r\n\r\n",
    "two redirects": b"HTTP/1.1 301 X\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
    "a length that is no number": HEAD + b"Content-Length: ten\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n{}",
    "a huge length": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a chunk size that is no number": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk without an end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "packed and not": HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    "no header at all": HEAD + b"\r\n{}",
    "headers without a colon": HEAD + b"nothing\r\n\xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    "an odd charset": HEAD + b"Content-Type: application/json; charset=utf-7000\r\nContent-Length: 2\r\n\r\n{}",
    "a cookie that is none": HEAD + b"Set-Cookie: \x00=\xff; expires=Foo\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/0.9": b"<html>It works!</html>",
    "HTTP/9": b"HTTP/9.9 200 OK\r\n\r\n{}",
    "a status of five digits": b"HTTP/1.1 20000 OK\r\n\r\n{}",
    "a status below all": b"HTTP/1.1 001 OK\r\n\r\n{}",
    "null bytes": b"\x00" * 100,
    "an absurd time to wait": HEAD + b"Retry-After: Fri, 31 Dec 9999 23:59:59 -2359\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_an_odd_answer_is_an_answer_or_an_unknown_outcome(content: bytes) -> None:
    with open_server(answer_with(content)) as server:
        assert isinstance(ask(server), ProviderAnswer | OutcomeUnknown)


@pytest.mark.parametrize("status", [204, 304, 400, 404, 500])
def test_what_is_left_of_an_answer_is_not_the_next_ones(status: int) -> None:
    def talk(connection: socket.socket) -> None:
        with connection:
            # A body where none belongs, which reads like the answer to the next call.
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status + OK)
            connection.recv(1)

    with open_server(talk) as server:
        sender = Outgoing(HERE)
        for _ in range(2):
            answer = sender.send("GET", f"http://127.0.0.1:{server.port}/", {})
            assert answer.status == status
        assert server.connections == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("00000000005", 5.0),
        ("9" * 400, RETRY_AFTER_SECONDS_MAX),
        ("99999999", RETRY_AFTER_SECONDS_MAX),
        ("Fri, 31 Dec 2999 23:59:59 GMT", RETRY_AFTER_SECONDS_MAX),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        *((value, None) for value in (None, "", "-5", "1e9", "3.5", "soon", "٣", "5, 7", "\x00", "Fri, 31 Dec 99999")),
        ("Fri, 31 Dec 9999 23:59:59 -2359", RETRY_AFTER_SECONDS_MAX),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Fri, 31 Dec 2999 23:59:59 +99999999999999", None),
    ],
)
def test_retry_after_is_bounded_and_never_raises(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


LARGE = outgoing.RESPONSE_BYTES_MAX + 1


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * LARGE,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * LARGE * 100),
        b"HTTP/1.1 abc\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
    ids=["long", "endless", "many headers", "long header", "torn", "packed", "no status", "no HTTP", "nothing"],
)
def test_an_answer_that_is_none_is_an_unknown_outcome(content: bytes) -> None:
    with open_server(answer_with(content)) as server, pytest.raises(OutcomeUnknown):
        Outgoing(HERE).send("GET", f"http://127.0.0.1:{server.port}/", {})
