"""A WebSocket: pings, and a reader that accepts only pongs and the close frame from the client."""

from __future__ import annotations

import time
from typing import Any

from simple_websocket import Server
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from app.services.access.callers import Caller
from app.sockets.connection import POLICY, TOO_BIG, LiveConnection
from app.sockets.notification import PING_FRAME, Notification, encode_socket_text

# Below the minute after which proxies drop a silent connection.
PING_SECONDS = 25.0
# Clients send no messages; a library may send a small one by itself.
MESSAGE_BYTES = 4_096
# A client's own keep-alives are far below; a flood would use up the processor.
FRAMES_PER_SECOND = 10
# One read holds a whole allowed message.
READ_BYTES = 4_096


class NoThread:
    """Stands in for the reading thread of simple-websocket: our handler reads, which saves a greenlet per socket."""

    def __init__(self, target: object = None) -> None:
        self.name = "(_thread)"

    def start(self) -> None:
        """Do nothing: the handler reads."""


class NoEvent:
    """Stands in for the event that such a thread would set."""


# permessage-deflate is kept off by leaving its header out of the handshake (`forget_headers`).
SERVER_OPTIONS = {"subprotocols": ["sluice.v1"], "thread_class": NoThread, "event_class": NoEvent}


class SocketConnection(LiveConnection):
    """A WebSocket after its handshake."""

    kind = "websocket"

    def __init__(self, server: Server, caller: Caller) -> None:
        super().__init__(server.sock, caller)
        self._framing: Any = server.ws.connection
        # flask-sock's object must neither close the socket a second time nor keep the handshake in memory.
        server.connected = False
        server.ws = None
        self._message_bytes = 0
        self._answered = True
        self._second = 0
        self._frames = 0
        self.next_beat = time.monotonic() + PING_SECONDS

    def frame(self, notification: Notification) -> bytes:
        return notification.socket_frame

    def greet(self, hello: str) -> None:
        self.send(encode_socket_text(hello))

    def farewell(self, code: int) -> bytes:
        try:
            return bytes(self._framing.send(CloseConnection(code=code)))
        except LocalProtocolError:
            # The client closed first.
            return b""

    def beat(self, now: float) -> None:
        if not self._answered:
            self.close(POLICY, "no_pong")
            return
        self._answered = False
        self.next_beat = now + PING_SECONDS
        self.send(PING_FRAME)

    def read(self) -> None:
        while not self.closed:
            try:
                received = self.sock.recv(READ_BYTES)
                if not received:
                    return
                self._framing.receive_data(received)
            except (OSError, LocalProtocolError, RemoteProtocolError):
                return
            for event in self._framing.events():
                if not self._handle(event):
                    return

    def _handle(self, event: Event) -> bool:
        """Handle one event; return whether to continue reading."""
        if isinstance(event, CloseConnection):
            self._answer_close(event)
            return False
        if self.closing:
            return True
        if self._is_flooded():
            self.close(POLICY, "too_many_frames")
        elif isinstance(event, Ping):
            self.send(bytes(self._framing.send(event.response())))
        elif isinstance(event, Pong):
            self._answered = True
        elif isinstance(event, TextMessage | BytesMessage):
            self._weigh(event)
        return True

    def _weigh(self, event: TextMessage | BytesMessage) -> None:
        self._message_bytes += len(event.data)
        if self._message_bytes > MESSAGE_BYTES:
            self.close(TOO_BIG, "message_too_big")
        if event.message_finished:
            self._message_bytes = 0

    def _is_flooded(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._frames = second, 0
        self._frames += 1
        return self._frames > FRAMES_PER_SECOND

    def _answer_close(self, event: CloseConnection) -> None:
        if self.closing:
            return
        # 1006 stands for "no close frame came" and may not be sent.
        code = event.code if event.code != CloseReason.ABNORMAL_CLOSURE else CloseReason.PROTOCOL_ERROR
        self.send(self.farewell(int(code)))
        self.flush()
