"""Frames of a server-sent event stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


class FrameReader:
    """Cuts the bytes of a stream, which come in pieces of any length, into the JSON of its frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Yield the content of each frame that `chunk` completes. Comments, names and ids are in no need of reading."""
        # Only the line ends of the protocol count: JSON text may have other characters that Python splits lines at.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            field, _, value = line.rstrip(b"\r").partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif not field and not value and self._data:
                data, self._data = b"\n".join(self._data), []
                yield json.loads(data)
