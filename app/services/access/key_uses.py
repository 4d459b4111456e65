"""When secret keys were last used: noted in memory, written for all keys of the process at once."""

from __future__ import annotations

import threading
import time
import uuid

import structlog
from sqlalchemy.exc import SQLAlchemyError

from models import Database
from models.array_params import uuid_array
from models.database import single

log = structlog.get_logger(__name__)

# One write a minute for each key in use, however many requests it makes: precise enough to find keys nobody needs.
WRITTEN_EVERY_SECONDS = 60.0
# Keys that are used for the first time at the same moment are written together.
COLLECT_SECONDS = 1.0

_NOTE = single("select door_note_key_uses(cast(:ids as uuid[]))")


class KeyUses:
    """Collects the keys used by requests of this process; a thread of its own writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[uuid.UUID, float] = {}
        self._waiting: set[uuid.UUID] = set()
        self._lock = threading.Lock()
        self._is_due = threading.Event()
        self._writer: threading.Thread | None = None

    def note(self, key_id: uuid.UUID) -> None:
        """Note a use of the key now; cost one dictionary access unless a minute has passed."""
        now = time.monotonic()
        if now - self._written.get(key_id, -WRITTEN_EVERY_SECONDS) < WRITTEN_EVERY_SECONDS:
            return
        with self._lock:
            self._written[key_id] = now
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
        """Write the uses noted so far; without a database they are dropped, and noted again a minute later."""
        with self._lock:
            used, self._waiting = sorted(self._waiting), set()
            # What was not used for a minute would be written again anyway: the memory holds active keys only.
            oldest = time.monotonic() - WRITTEN_EVERY_SECONDS
            self._written = {key_id: at for key_id, at in self._written.items() if at > oldest}
        if not used:
            return
        try:
            self._database.run_single("door", _NOTE, {"ids": uuid_array(used)})
        except (SQLAlchemyError, OSError) as error:
            log.warning("key_uses_not_written", keys=len(used), error=type(error).__name__)
