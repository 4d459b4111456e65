"""An ordinary head is read as gunicorn's parser reads it; every other one is left to that parser."""

from __future__ import annotations

import pytest
from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given
from hypothesis import strategies as st

from app.http.plain_heads import read_plain
from app.http.request_heads import StrictRequest

PEER = ("192.0.2.1", 1)
CONFIG = Config()
CONFIG.set("forwarded_allow_ips", "")
PLAIN = b"POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-Y:\t z \r\n\r\n{}GET"

lines = st.one_of(
    st.sampled_from(
        [
            *(
                b"Host: x",
                b"Content-Length: 2",
                b"content-length: 0002",
                b"Content-Length: 2, 2",
                b"Content-Length: -1",
            ),
            *(b"X_Y: 1", b"X-Y: 1", b"x-y: 2", b"Content-Length: \xb2", b"Content-Length:", b" folded", b"A : 1"),
            *(b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close", b": empty", b"no colon"),
            *(b"X: a\x00", b"X: a\nB: 1", b"X: a\rB: 1", b"X: \xe9\xff", b"X:a\t b", b"SCRIPT_NAME: /a", b"X: \x7f"),
        ]
    ),
    st.binary(max_size=12),
)
targets = st.one_of(
    st.sampled_from([b"/", b"//a", b"/a//b", b"/a?b", b"/?", b"/a#b", b"/%00", b"*", b"http://x/a", b"a:1", b"/[x]"]),
    st.binary(max_size=8),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8).map(lambda text: b"/" + text.encode()),
)
methods = st.sampled_from([b"GET", b"POST", b"get", b"CONNECT", b"OPTIONS", b"AB", b"M-SEARCH"])
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 "])


@given(methods, targets, versions, st.lists(lines, max_size=5), st.sampled_from([b"\r\n", b"\n", b"\r\n\r\n"]))
@example(b"GET", b"/", b"HTTP/1.1", [b"Host: x", b"Content-Length: 2"], b"\r\n")
def test_an_ordinary_head_is_read_as_gunicorn_reads_it(
    method: bytes, target: bytes, version: bytes, fields: list[bytes], end: bytes
) -> None:
    data = b"\r\n".join([b" ".join([method, target, version]), *fields, b""]) + end + b"{}GET"
    head = read_plain(data, 8_190, 100)
    if head is None:
        return
    unreader = IterUnreader([data])
    theirs = Request(CONFIG, unreader, PEER)
    assert head[:5] == (theirs.method, theirs.uri, theirs.path, theirs.query, theirs.headers)
    assert (theirs.version, theirs.scheme, theirs._expected_100_continue) == ((1, 1), "http", False)
    given, ours = data[head.end :], StrictRequest(CONFIG, IterUnreader([data]), PEER)
    assert theirs.body.read() == ours.body.read() == given[: head.content_length]
    assert theirs.should_close() == ours.should_close()


def test_what_comes_after_a_body_is_the_next_request() -> None:
    for pieces in ([PLAIN], [PLAIN[:-4], PLAIN[-4:]], [PLAIN[:9], PLAIN[9:]]):
        unreader = IterUnreader(pieces)
        request = StrictRequest(CONFIG, unreader, PEER)
        assert request.headers == [("HOST", "x"), ("CONTENT-LENGTH", "2"), ("X-Y", "z")]
        assert request.body.read() == b"{}"
        assert unreader.read() == b"GET"
    with pytest.raises(StopIteration):
        StrictRequest(CONFIG, IterUnreader([]), PEER)


@pytest.mark.parametrize(
    "head",
    [
        *(b"GET / HTTP/1.1\r\nX_Y: 1\r\n\r\n", b"GET / HTTP/1.1\r\nX-Y: 1\r\nx-y: 2\r\n\r\n", PLAIN[:30], b""),
        *(b"GET // HTTP/1.1\r\n\r\n", b"GET /a#b HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"),
        *(b"GET / HTTP/1.1\r\nA: 1\r\n b\r\n\r\n", b"GET / HTTP/1.1\r\nA: 1\nB: 2\r\n\r\n"),
        *(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n"),
        *(b"POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}", b"GET / HTTP/1.1\r\nX: " + b"a" * 200 + b"\r\n\r\n"),
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(9)) + b"\r\n",
    ],
)
def test_others_are_left_to_gunicorn(head: bytes) -> None:
    assert read_plain(PLAIN, 200, 8) is not None
    assert read_plain(head, 200, 8) is None
