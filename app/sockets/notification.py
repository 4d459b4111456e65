"""A numbered notification, encoded once for each kind of connection, whatever the number of connections."""

from __future__ import annotations

import json

from wsproto.connection import Connection as Framing
from wsproto.connection import ConnectionType
from wsproto.events import Ping, TextMessage

# Without extensions, whole messages and pings leave a framing's state unchanged, so that one encodes for all sockets.
_FRAMING = Framing(ConnectionType.SERVER)

PING_FRAME = bytes(_FRAMING.send(Ping()))


class Notification:
    """One notification; `text` is its JSON as clients get it (CONTRACT section 5)."""

    __slots__ = ("_socket_frame", "_stream_chunk", "number", "text", "type", "user_id")

    def __init__(self, number: int, user_id: str, type_: str, text: str) -> None:
        self.number = number
        self.user_id = user_id
        self.type = type_
        self.text = text
        self._socket_frame: bytes | None = None
        self._stream_chunk: bytes | None = None

    @property
    def socket_frame(self) -> bytes:
        """The notification as a WebSocket text frame."""
        if self._socket_frame is None:
            self._socket_frame = encode_socket_text(self.text)
        return self._socket_frame

    @property
    def stream_event(self) -> bytes:
        """The notification as an event of a stream."""
        return encode_stream_event(self.type, self.text, self.number)

    @property
    def stream_chunk(self) -> bytes:
        """The notification as an event of a stream over HTTP/1.1."""
        if self._stream_chunk is None:
            self._stream_chunk = encode_chunk(self.stream_event)
        return self._stream_chunk


def encode_socket_text(text: str) -> bytes:
    """Return `text` as one WebSocket frame of a server."""
    return bytes(_FRAMING.send(TextMessage(data=text)))


def encode_stream_event(type_: str, text: str, number: int | None = None) -> bytes:
    """Return an event of a stream; `text` has no line breaks. Without a number the client's last id stays."""
    identity = "" if number is None else f"id: {number}\n"
    return f"{identity}event: {type_}\ndata: {text}\n\n".encode()


def encode_chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def present_hello(resumed: bool, last_number: int) -> str:
    """Return the first message of every connection (CONTRACT section 5)."""
    return json.dumps({"type": "hello", "resumed": resumed, "last_id": last_number})
