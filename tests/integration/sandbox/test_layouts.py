"""A data folder of an older sandbox is upgraded, one of an unknown layout is left alone."""

from __future__ import annotations

import fcntl
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.storage import schema
from sandbox.storage.store import Store

# What the second layout lacks of today's tables, and what the first one lacks as well.
_EVENTS = re.compile(r"^CREATE TABLE events \(.*?\n\);\nCREATE INDEX .*?;\n", re.DOTALL | re.MULTILINE)
_ADDED = re.compile(
    r"^CREATE TABLE (?:endpoints|money_back) \(.*?\n\);\nCREATE INDEX .*?;\n"
    r"|,\n    (?:protocol|disputed_minor|request|event_type|content_type|endpoint_id) [^\n]*?(?=,?\n)",
    re.DOTALL | re.MULTILINE,
)


def write_layout(folder: Path, version: int) -> None:
    """Write a file of an early layout that calls itself `version`, with one merchant and one payment."""
    without_events = _EVENTS.sub("", schema.SCHEMA)
    with sqlite3.connect(folder / "sandbox.sqlite3") as connection:
        connection.executescript(without_events if version == 2 else _ADDED.sub("", without_events))
        connection.execute(
            "INSERT INTO merchants (name, api_key_sha256, provider_id, webhook_secret)"
            " VALUES ('shop', 'x', 'sandbox', 's')"
        )
        connection.execute(
            "INSERT INTO payments (reference, merchant, merchant_reference, page_token, status, amount_minor, currency,"
            " callback_urls, metadata, created_at, updated_at)"
            " VALUES ('sbx_1', 'shop', 'm', 't', 'open', 1, 'USD', '{}', '{}', 'then', 'then')"
        )
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Return the columns of each table."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} for table in tables}


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_folder_is_upgraded_with_what_it_holds(tmp_path: Path, version: int) -> None:
    (tmp_path / "old").mkdir()
    write_layout(tmp_path / "old", version)
    with closing(Store(tmp_path / "old")) as upgraded, closing(Store(tmp_path / "new")) as new:
        assert columns(upgraded.reading()) == columns(new.reading())
        query = "SELECT reference, protocol, disputed_minor, request FROM payments"
        assert tuple(upgraded.reading().execute(query).fetchone()) == ("sbx_1", "sandbox", 0, "{}")


def test_events_of_an_older_folder_are_those_that_were_to_be_delivered(tmp_path: Path) -> None:
    write_layout(tmp_path, 2)
    with sqlite3.connect(tmp_path / "sandbox.sqlite3") as connection:
        connection.executemany(
            "INSERT INTO deliveries (webhook_id, event_id, event, reference, merchant, merchant_reference, url, origin,"
            " body, state, due_at, created_at, protocol)"
            " VALUES ('w', 'e', 'success', 'sbx_1', 'shop', 'm', 'u', 'o', ?, 'delivered', 0, 'then', ?)",
            [(b'{"events":[]}', "gocardless"), (b'{"events":', "gocardless"), (b"{}", "stripe")],
        )
    connection.close()
    with closing(Store(tmp_path)) as store:
        rows = store.reading().execute("SELECT merchant, reference, body FROM events").fetchall()
    assert [tuple(row) for row in rows] == [("shop", "sbx_1", b'{"events":[]}')]


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    write_layout(tmp_path, 99)
    with pytest.raises(RuntimeError, match="layout 99"):
        Store(tmp_path)
    # What was refused is not held: another process may have the folder.
    with (tmp_path / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
