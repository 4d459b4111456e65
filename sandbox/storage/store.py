"""The sandbox's SQLite file: read by many threads, written by one at a time."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sandbox.storage.schema import SCHEMA, UPGRADES, VERSION

# A process that is being replaced may need this long to release the lock.
_TAKE_OVER_SECONDS = 5.0
_TAKE_OVER_STEP_SECONDS = 0.05
# Writers of this process queue at _write_lock; SQLite waits only for another program that opened the file.
_BUSY_SECONDS = 10.0


class FolderInUse(RuntimeError):
    """Another sandbox process has this data folder open."""


class Store:
    """One SQLite file in `directory`, used by exactly one process.

    Each thread reads through a connection of its own; `writing()` lets one thread write at a time. What was committed
    survives the loss of the process and of the machine. Raise FolderInUse where another process has the folder.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._guard = _take_folder(directory)
        self._path = directory / "sandbox.sqlite3"
        self._local = threading.local()
        self._write_lock = threading.Lock()
        self.committed: Callable[[], None] = lambda: None
        try:
            with self.writing() as connection:
                _create_schema(connection, self._path)
            self._path.chmod(0o600)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the calling thread's connection and let another process have the folder."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None
        self._guard.close()

    def reading(self) -> sqlite3.Connection:
        """Return the calling thread's connection, for single statements that only read."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_SECONDS)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction; call `committed` once it is on disk, roll back if the block raises."""
        connection = self.reading()
        with self._write_lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A commit that failed, for example on a full disk, may have ended the transaction already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self.committed()


def _take_folder(directory: Path) -> IO[str]:
    """Lock the folder for this process; two couriers on one file would deliver everything twice."""
    guard = (directory / "lock").open("w")
    deadline = time.monotonic() + _TAKE_OVER_SECONDS
    while True:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                guard.close()
                raise FolderInUse(f"another sandbox process uses {directory}; run one worker process only") from None
            time.sleep(_TAKE_OVER_STEP_SECONDS)
        else:
            return guard


def _create_schema(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    statements = SCHEMA if version == 0 else UPGRADES.get(version)
    if statements is None:
        raise RuntimeError(f"{path} has layout {version}, this sandbox reads layout {VERSION}; move it away")
    # executescript commits by itself: a crash would leave half a schema.
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
