"""Make gunicorn listen only while a worker can answer.

gunicorn listens in its main process before any worker has loaded the application, so that clients of a starting
process would wait until it has started. These functions have it bind the port only, listen from the worker, close the
listener and keep the port where no worker is left, and close it at the end without losing a connection that the kernel
has accepted already.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import socket
import struct
import sys
from typing import Any

# Shared by the main process and all workers: the numbers (`age`) of the newest worker started and the newest ready.
_newest = memoryview(mmap.mmap(-1, 16)).cast("q")

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
SO_DETACH_FILTER = 27
TCP_INFO_BYTES = 104  # Up to tcpi_total_retrans; enough for tcpi_unacked, the length of a listener's accept queue.
TCP_INFO_UNACKED = 24  # Its offset: eight bytes of flags, then the fifth 32-bit number (linux/tcp.h).

# Classic BPF over a TCP header: drop segments with SYN and without ACK, let all others pass.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # A = flags
    (0x54, 0, 0, 0x12),  # A &= SYN | ACK
    (0x15, 0, 1, 0x02),  # if A == SYN
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # else pass
)


def note_started(age: int) -> None:
    """Record that the main process starts worker number `age`."""
    _newest[0] = age


def note_ready(age: int) -> None:
    """Record that worker number `age` answers requests."""
    _newest[1] = max(age, newest_ready())


def newest_started() -> int:
    """Return the number of the newest worker that was started."""
    return _newest[0]


def newest_ready() -> int:
    """Return the number of the newest worker that ever answered requests."""
    return _newest[1]


def only_bind() -> None:
    """Have gunicorn's main process bind its port and not listen; connections are refused until a worker listens.

    Listening and closing again would reset the connections that arrive in between. Linux only, as `close_listeners`.
    """
    if sys.platform == "linux":
        from gunicorn.sock import BaseSocket

        # Asked before gunicorn listens, so that an inherited socket which listens already is left as it is.
        BaseSocket._is_listening = staticmethod(lambda _sock: True)


def close_listeners(listeners: list[Any]) -> None:
    """Stop listening and keep the port: connections are refused at once instead of waiting in the accept queue.

    Linux only: elsewhere the socket could not listen again. A port that the kernel chose would be lost, so that such a
    listener stays open.
    """
    if sys.platform != "linux":
        return
    for listener in listeners:
        if is_listening(listener) and isinstance(listener.cfg_addr, tuple) and listener.cfg_addr[1] != 0:
            listener.sock.shutdown(socket.SHUT_RDWR)


def open_listener(listener: socket.socket, backlog: int) -> None:
    """Listen, without the filter of `refuse_connections`. Raise OSError if the port is taken."""
    if sys.platform == "linux":
        # Raises where there is no filter, which is the usual case.
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    if not is_listening(listener):
        listener.listen(backlog)


def is_listening(listener: Any) -> bool:
    """Return whether a socket listens; True where the system does not report it."""
    try:
        return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except (AttributeError, OSError):
        return True


def refuse_connections(listener: socket.socket) -> bool:
    """Drop new connection attempts from now on; handshakes in progress are still completed and can be accepted.

    Closing a listener resets the connections in its accept queue. With this filter the queue can be emptied first; TCP
    repeats a dropped attempt, which is then refused. Return False where there are no such filters.
    """
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(_DROP_SYN), ctypes.addressof(program))
        )
    except OSError:
        return False
    return True


def count_queued(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted; 0 where the system does not report it."""
    if sys.platform != "linux":
        return 0
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    except OSError:
        return 0
    return int(struct.unpack_from("I", info, TCP_INFO_UNACKED)[0])
