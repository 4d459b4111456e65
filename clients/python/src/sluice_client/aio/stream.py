"""Events as they come, over long polls or a server-sent event stream; both resume after the last event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Literal

import httpx

from sluice_client.aio.sender import AsyncSender, read_answer
from sluice_client.calls import ANSWER_SECONDS, Call, back_off, is_passing, new_key
from sluice_client.errors import EventsMissingError, NoAnswerError, SluiceError
from sluice_client.models import Event, Page
from sluice_client.sse import FrameReader

# The longest that the server waits.
_POLL_SECONDS = 30
# A server that is busy answers at once instead of waiting: polls must not become a tight loop then.
_POLL_PAUSE_SECONDS = 1.0
# The server sends a comment more often than this: silence is a dead connection.
_SILENCE_SECONDS = 60.0


class AsyncEventStream:
    """An endless iterator of events; `last_id` is the id of the last one that it gave."""

    def __init__(self, sender: AsyncSender, after: int, transport: Literal["poll", "sse"]) -> None:
        if transport not in ("poll", "sse"):
            raise ValueError("the transport is poll or sse")
        self.last_id = after
        self._sender = sender
        self._read = self._poll if transport == "poll" else self._listen
        self._sockets_url = sender.base_url

    async def __aiter__(self) -> AsyncIterator[Event]:
        failures = 0
        while True:
            try:
                async for event in self._read():
                    failures = 0
                    self.last_id = event["id"]
                    yield event
            except SluiceError as error:
                if not is_passing(error):
                    raise
                failures += 1
                asked: float | None = getattr(error, "retry_after", None)
                await asyncio.sleep(back_off(failures) if asked is None else asked)

    async def _poll(self) -> AsyncIterator[Event]:
        """Yield the events of one page; a longer backlog follows by the next page's `after`."""
        asked_at = time.monotonic()
        query = {"after": self.last_id, "wait": _POLL_SECONDS}
        page = await self._sender.send(Call[Page[Event]]("GET", "/api/events", query=query, wait=_POLL_SECONDS))
        for event in page["data"]:
            yield event
        if not page["data"] and time.monotonic() - asked_at < _POLL_PAUSE_SECONDS:
            await asyncio.sleep(_POLL_PAUSE_SECONDS)

    async def _listen(self) -> AsyncIterator[Event]:
        """Yield the events of one connection until it ends."""
        request_id = new_key()
        after = self.last_id
        timeout = httpx.Timeout(ANSWER_SECONDS, read=_SILENCE_SECONDS)
        try:
            async with self._sender.http.stream(
                "GET",
                f"{self._sockets_url}/api/stream",
                params={"after": after},
                headers={"Accept": "text/event-stream", "X-Request-Id": request_id},
                timeout=timeout,
            ) as response:
                if not response.is_success:
                    await response.aread()
                    self._follow(response, request_id)
                    return
                frames = FrameReader()
                async for chunk in response.aiter_bytes():
                    for message in frames.feed(chunk):
                        if message.get("type") != "hello":
                            yield message
                        elif not message["resumed"]:
                            raise EventsMissingError(after, message["last_id"])
        except httpx.TransportError as error:
            raise NoAnswerError(f"the stream broke: {type(error).__name__} {error}", request_id) from error
        raise NoAnswerError("the stream ended", request_id)

    def _follow(self, response: httpx.Response, request_id: str) -> None:
        """Take the base of the sockets from an answer that names it (421). Raise ApiError for every other error."""
        elsewhere = response.headers.get("content-location", "").rstrip("/")
        if response.status_code != httpx.codes.MISDIRECTED_REQUEST or elsewhere in ("", self._sockets_url):
            read_answer(response, request_id)
        self._sockets_url = elsewhere
