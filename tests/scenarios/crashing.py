"""A database whose process dies at a chosen commit."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import Connection, text

from app.runtime.runtime import Runtime
from models import Database, Row, read
from models.database import STATEMENT_TIMEOUT_MS, ByKeys, Role
from models.statements import Statements
from tests.support.engine import call_and_settle, claim_call

When = Literal["after", "before"]


class Crashed(BaseException):
    """The process is gone; no `except Exception` of a process that is gone runs any more."""


class CrashingDatabase(Database):
    """Counts the commits that wrote something; the chosen one is the last thing that its process does.

    "after": what was written is there. "before": it is not. Once it has happened the next process lives on.
    """

    def __init__(self, url: str, pool_size: int) -> None:
        super().__init__(url, pool_size)
        self._lock = threading.Lock()
        self._local = threading.local()
        # Done once, just before the next commit of the web's role.
        self.before_commit: Callable[[Connection], None] | None = None
        self.disarm()

    def arm(self, nth: int, when: When = "after") -> None:
        """Choose the commit, counted from 1 and from now on."""
        self._nth, self._when, self._count, self.has_crashed = nth, when, 0, False

    def disarm(self) -> None:
        """Let every process live."""
        self.arm(0)

    @contextlib.contextmanager
    def spared(self) -> Iterator[None]:
        """No commit of this thread in the block counts."""
        self._local.is_spared = True
        try:
            yield
        finally:
            self._local.is_spared = False

    def _is_last(self, connection: Connection) -> bool:
        if self._nth == 0 or self.has_crashed or getattr(self._local, "is_spared", False):
            return False
        if connection.execute(text("select pg_current_xact_id_if_assigned() is null")).scalar():
            return False
        with self._lock:
            self._count += 1
            self.has_crashed = self._count == self._nth
            return self.has_crashed

    @contextlib.contextmanager
    def transaction(
        self, role: Role, tenant_id: uuid.UUID | None = None, *, by_keys: ByKeys | None = None
    ) -> Iterator[Connection]:
        """Open a transaction as the real database does, and dies with the chosen one."""
        with super().transaction(role, tenant_id, by_keys=by_keys) as connection:
            yield connection
            if role == "web" and (meanwhile := self.before_commit):
                self.before_commit = None
                meanwhile(connection)
            is_last = self._is_last(connection)
            if is_last and self._when == "before":
                raise Crashed
        if is_last:
            raise Crashed

    def run_single(
        self, role: Role, message: Statements, parameters: Mapping[str, Any], tenant_id: uuid.UUID | None = None
    ) -> list[Row]:
        """Run a message that is a whole transaction as the real database does, and dies with the chosen one."""
        named = {"role": f"sluice_{role}", "tenant": str(tenant_id or ""), "timeout": str(STATEMENT_TIMEOUT_MS[role])}
        with self.transaction(role, tenant_id, by_keys="few") as connection:
            return read(connection, message, named | {**parameters})


def die_in_call(runtime: Runtime, database_url: str, nth: int, when: When) -> None:
    """Let a worker claim the call that is due, make it and settle its answer, and die with its `nth` commit."""
    database = CrashingDatabase(database_url, 4)
    worker = replace(runtime, database=database)
    # Adapters are known by runtime.
    worker.adapters.update(runtime.adapters)
    try:
        database.arm(nth, when)
        with contextlib.suppress(Crashed):
            claim = claim_call(worker)
            assert claim is not None
            call_and_settle(worker, claim)
        assert database.has_crashed
    finally:
        database.engine.dispose()
