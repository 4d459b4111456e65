"""Start programs that end with this process, reserve ports for them, and read their logs."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedWriter
from pathlib import Path

SHIM = Path(__file__).with_name("launch_shim.py")
NAMESPACE_REFUSED = 77  # The shim's exit code; see launch_shim.py, which cannot be imported.
LOG_KEPT_BYTES = 10 * 1024 * 1024  # A larger log is rotated at the next start; an editor can still open this size.


def launch(
    argv: Sequence[str],
    *,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    identity: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that gets `death_signal` when this process dies.

    The kernel counts the calling thread as the parent: call it from a thread that lives as long as the program.
    `identity` is "uid:gid" to appear as in a user namespace; where namespaces are refused the exit code is
    NAMESPACE_REFUSED. Output is appended to `log_path`.
    """
    shim = [sys.executable, "-I", "-S", str(SHIM), str(os.getpid()), str(int(death_signal)), identity or "-"]
    with open_log(log_path) as log:
        return subprocess.Popen(
            [*shim, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )


def open_log(path: Path) -> BufferedWriter:
    """Open a log for appending, readable by its owner only; a large one is renamed to `<name>.1` first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_KEPT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def read_log_tail(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log, or an empty text if there is none."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 so that readers see the old text or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as target:
        target.write(text)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(path)


_reserved = ExitStack()


def reserve_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Return free TCP ports that this process holds until it ends; see hold_free_ports."""
    return _reserved.enter_context(hold_free_ports(count, address))


@contextmanager
def hold_free_ports(count: int, address: str = "127.0.0.1") -> Iterator[list[int]]:
    """Choose free TCP ports; Linux gives them to nobody else until the block ends.

    A server that names one of them gets it if it sets SO_REUSEADDR, as all of ours do: the socket that holds the port
    sets it too, and does not listen. Connections to a port without a server are refused.
    """
    with ExitStack() as held:
        holders = [held.enter_context(open_probe(address)) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((address, 0))
        ports = [int(holder.getsockname()[1]) for holder in holders]
        if sys.platform != "linux":
            held.close()  # On other systems two sockets with SO_REUSEADDR cannot have one port.
        yield ports


def port_is_free(address: str, port: int) -> bool:
    """Return whether a server could listen there."""
    with open_probe(address) as probe:
        # As servers set it, so that connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def open_probe(address: str) -> socket.socket:
    """Open an unbound TCP socket of the address's family."""
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)


def find_unprivileged_identity() -> str | None:
    """Return "uid:gid" for programs that refuse to run as the present user, or None if they would not.

    PostgreSQL refuses root, and a user without an entry in the user database.
    """
    known = {entry.pw_uid: entry for entry in pwd.getpwall()}
    if os.geteuid() in known and os.geteuid() != 0:
        return None
    others = [entry for uid, entry in sorted(known.items()) if uid != 0]
    return f"{others[0].pw_uid}:{others[0].pw_gid}" if others else None
