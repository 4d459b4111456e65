"""A tenant's events as they come, over a stream that reconnects and resumes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests

from app.cli.backend import Backend, BackendRefused

CONNECT_SECONDS = 10.0
# More than two keep-alives, which come every fifteen seconds: a connection that is silent for longer is dead.
SILENCE_SECONDS = 40.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
TOKEN_ENDED = 4401  # The code of the last event where the key was revoked or has expired.

# Statuses that another attempt with the same key does not change.
_FINAL = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream; `data` is its JSON as it came."""

    type: str
    data: bytes
    id: int | None = None


class EventStream:
    """Iterates over the events after `after`, or over new ones; `remark` gets what a person should know meanwhile.

    An event counts as seen when the next one is asked for: after a reconnection the stream begins behind it.
    """

    def __init__(self, backend: Backend, after: int | None, remark: Callable[[str], None]) -> None:
        self.after = after
        self._backend = backend
        self._remark = remark
        self._url = f"{backend.sockets}/api/stream"
        self._failures = 0

    def __iter__(self) -> Iterator[Frame]:
        """Yield events without an end. Raise BackendRefused where the key may not, or no longer may, connect."""
        while True:
            try:
                yield from self._connect()
                problem = "the server ended the stream"
            except requests.RequestException as error:
                problem = f"no stream ({type(error).__name__})"
            self._failures += 1
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10))
            pause *= random.uniform(0.5, 1.0)  # noqa: S311  # spreads load  # nosec B311
            self._remark(f"{problem}; connecting again in {pause:.1f} s")
            time.sleep(pause)

    def _connect(self) -> Iterator[Frame]:
        headers = {"Authorization": f"Bearer {self._backend.key}", "Accept": "text/event-stream"}
        if self.after is not None:
            headers["Last-Event-ID"] = str(self.after)
        timeout = (CONNECT_SECONDS, SILENCE_SECONDS)
        with self._backend.session.get(
            self._url, headers=headers, stream=True, timeout=timeout, allow_redirects=False
        ) as answer:
            if answer.status_code == HTTPStatus.MISDIRECTED_REQUEST and "Content-Location" in answer.headers:
                # Web names the base URL of the process that serves streams.
                self._url = f"{answer.headers['Content-Location'].rstrip('/')}/api/stream"
                raise requests.ConnectionError("streams are served elsewhere")
            if answer.status_code in _FINAL:
                raise BackendRefused(f"GET {self._url} was answered {answer.status_code}: {_read_detail(answer)}")
            answer.raise_for_status()
            for frame in read_frames(answer.iter_lines()):
                if frame.type == "hello":
                    self._greet(json.loads(frame.data))
                elif frame.type == "close":
                    if json.loads(frame.data).get("code") == TOKEN_ENDED:
                        raise BackendRefused("the key was revoked or has expired")
                    return
                else:
                    yield frame
                    self.after = frame.id

    def _greet(self, hello: dict[str, Any]) -> None:
        if self.after is not None and not hello["resumed"]:
            self._remark(
                f"events after {self.after} can no longer be sent; continuing after {hello['last_id']}"
                if self.after <= hello["last_id"]
                else f"there is no event {self.after} yet; continuing after {hello['last_id']}"
            )
            self.after = None
        if self.after is None:
            self.after = hello["last_id"]
        if self._failures:
            self._remark(f"connected again, after event {self.after}")
        self._failures = 0


def read_frames(lines: Iterable[bytes]) -> Iterator[Frame]:
    """Yield the events in the lines of a stream; comments are left out, as is an event that is cut off."""
    fields: dict[str, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        if name:
            fields[name.decode("ascii", "replace")] = value.removeprefix(b" ")
        elif not line:
            if "data" in fields:
                number = fields.get("id", b"").decode("ascii", "replace")
                kind = fields.get("event", b"message").decode("utf-8", "replace")
                yield Frame(kind, fields["data"], int(number) if number.isdigit() else None)
            fields = {}


def _read_detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason
