"""The life of one connection: the greeting, what was missed, then what comes."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.sockets.connection import TRY_AGAIN, Connection
from app.sockets.feed import Feed
from app.sockets.hub import Hub
from app.sockets.notification import present_hello
from app.sockets.rows import PAGE_ROWS, Rows

log = structlog.get_logger(__name__)


def serve(hub: Hub, connection: Connection, after: int | None) -> None:
    """Serve a connection until it ends; `after` is the number after which its client resumes."""
    # Before anything is read: what is published from here on is held back instead of missed.
    feed = hub.add(connection)
    try:
        begin(feed, hub.rows, connection, after)
        connection.read()
    except (SQLAlchemyError, OSError) as error:
        log.warning("connection_not_served", error=type(error).__name__)
        connection.close(TRY_AGAIN, "unavailable")
        connection.flush()
    finally:
        hub.remove(connection)
        connection.forget()


def begin(feed: Feed, rows: Rows, connection: Connection, after: int | None) -> None:
    """Greets and brings the client up to date.

    `last_id` is the highest number given when it connected. A number that was never given cannot be resumed from, nor
    one with dropped notifications after it; such a client goes on from `last_id` and is told that it was not resumed.
    """
    held_after, last = rows.bounds(connection.caller.tenant_id)
    last = max(last, feed.start_at(last))
    resumed = after is not None and held_after <= after <= last
    connection.cursor = after if after is not None and resumed else last
    connection.greet(present_hello(resumed, last))
    if resumed and not send_missed(rows, connection):
        return
    go_live(rows, connection)


def send_missed(rows: Rows, connection: Connection) -> bool:
    """Send all rows above the connection's cursor at the client's pace; tell whether it still stands."""
    caller = connection.caller
    while True:
        page = rows.read_page(caller.tenant_id, connection.cursor, caller.user_id)
        for notification in page:
            connection.send(connection.frame(notification))
            connection.cursor = notification.number
        if not connection.flush():
            return False
        if len(page) < PAGE_ROWS:
            return True


def go_live(rows: Rows, connection: Connection) -> None:
    """Send what was held back meanwhile and let the rest through as it comes."""
    while connection.behind:
        # More came than could be held: it is in the database by now.
        connection.behind = False
        if not send_missed(rows, connection):
            return
    # Nothing waits between these lines, so that nothing can come between them.
    held, connection.held = connection.held, []
    connection.live = True
    for notification in held:
        connection.deliver(notification)
