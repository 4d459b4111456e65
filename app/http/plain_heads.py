"""Reads the head of an ordinary request with one regular expression; gunicorn's parser reads all others.

Ordinary is what programs send: a path, HTTP/1.1, header names of letters, digits and hyphens, each at most once, no
transfer coding. Such a head has one reading, and a test compares it with gunicorn's. Whatever else is in a head, right
or wrong, is left to gunicorn, whose rules are the only ones that refuse something.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The request line, header lines, an empty line. A path that begins with two slashes is read as a host by URL parsers,
# and `#` begins a fragment. Values have no control characters except tabs, and no line is a continuation.
_HEAD = re.compile(
    rb"([A-Z]{3,20}) (/(?!/)[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+:[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
# Headers that change how the rest is read.
_OTHERS = frozenset({"TRANSFER-ENCODING", "EXPECT"})


class PlainHead(NamedTuple):
    """A head: `uri` is `path?query`, names of headers are in upper case, `end` is where the body begins."""

    method: str
    uri: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    content_length: int
    end: int


def read_plain(data: bytes, line_bytes_max: int, fields_max: int) -> PlainHead | None:
    """Return the head at the start of `data`; None where it is not ordinary, incomplete, or near a limit."""
    match = _HEAD.match(data)
    # A head that is shorter than the limit of a line has no line that is longer.
    if match is None or match.end() > line_bytes_max:
        return None
    method, path, query, lines = (part.decode("latin-1") if part else "" for part in match.groups())
    headers = []
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        headers.append((name.upper(), value.strip(" \t")))
    values = dict(headers)
    length = values.get("CONTENT-LENGTH", "0")
    if len(values) != len(headers) or len(headers) > fields_max or not _OTHERS.isdisjoint(values):
        return None
    if not _LENGTH.fullmatch(length):
        return None
    uri = path if match[3] is None else f"{path}?{query}"
    return PlainHead(method, uri, path, query, headers, int(length), match.end())
