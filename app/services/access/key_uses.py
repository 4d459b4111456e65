"""Write the times of the last use of secret keys: collected in memory, written in batches."""

from __future__ import annotations

import threading
import time
import uuid

import structlog
from cachetools import TTLCache
from sqlalchemy.exc import SQLAlchemyError

from models import Database
from models.array_params import uuid_array
from models.database import single

log = structlog.get_logger(__name__)

# One write per key and minute, however many requests it makes: precise enough to find unused keys.
WRITE_SECONDS = 60.0
# Keys in use within a minute, some hundred bytes each; one that is dropped is written again earlier.
COLLECTED_MAX = 20_000
# Delay that lets uses of several keys be written together.
COLLECT_SECONDS = 1.0

_NOTE = single("select door_note_key_uses(cast(:ids as uuid[]))")


class KeyUses:
    """Collects the keys used by requests of this process; a thread writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Keys whose use was collected within the last minute.
        self._collected: TTLCache[uuid.UUID, None] = TTLCache(COLLECTED_MAX, WRITE_SECONDS)
        self._waiting: set[uuid.UUID] = set()
        self._lock = threading.Lock()
        self._is_due = threading.Event()
        self._writer: threading.Thread | None = None

    def note(self, key_id: uuid.UUID) -> None:
        """Record a use of the key now; costs one cache access unless a minute has passed."""
        with self._lock:
            if key_id in self._collected:
                return
            self._collected[key_id] = None
            self._waiting.add(key_id)
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._write_on, name="key-uses", daemon=True)
                self._writer.start()
        self._is_due.set()

    def _write_on(self) -> None:
        while True:
            self._is_due.wait()
            time.sleep(COLLECT_SECONDS)
            self._is_due.clear()
            self.write()

    def write(self) -> None:
        """Write the uses collected so far; drop them if the database fails, since a later use is written anyway."""
        with self._lock:
            used, self._waiting = sorted(self._waiting), set()
        if not used:
            return
        try:
            self._database.run_single("door", _NOTE, {"ids": uuid_array(used)})
        except (SQLAlchemyError, OSError) as error:
            log.warning("key_uses_not_written", keys=len(used), error=type(error).__name__)
