"""Serves one connection: the first message, missed notifications, then new ones."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.sockets.connection import TRY_AGAIN, LiveConnection
from app.sockets.feed import Feed
from app.sockets.hub import Hub
from app.sockets.notification import present_hello
from app.sockets.rows import PAGE_ROWS, LiveQueries

log = structlog.get_logger(__name__)


def serve(hub: Hub, connection: LiveConnection, after: int | None) -> None:
    """Serve a connection until it ends; `after` is the number after which its client resumes."""
    # Added before the first query: notifications published from here on are held back instead of missed.
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


def begin(feed: Feed, rows: LiveQueries, connection: LiveConnection, after: int | None) -> None:
    """Send the first message and the missed notifications.

    `last_id` is the highest number given when the client connected. A client cannot resume after a number that was
    never given, nor after one that is followed by dropped notifications: it continues at `last_id`, not `resumed`.
    """
    held_after, last = rows.bounds(connection.caller.tenant_id)
    last = max(last, feed.start_at(last))
    resumed = after is not None and held_after <= after <= last
    connection.cursor = after if after is not None and resumed else last
    connection.greet(present_hello(resumed, last))
    if resumed and not send_missed(rows, connection):
        return
    go_live(rows, connection)


def send_missed(rows: LiveQueries, connection: LiveConnection) -> bool:
    """Send all notifications above the connection's cursor as fast as the client reads; return whether it is open."""
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


def go_live(rows: LiveQueries, connection: LiveConnection) -> None:
    """Send the notifications that were held back, and deliver new ones from now on."""
    while connection.behind:
        # More arrived than could be held; all of it is in the database.
        connection.behind = False
        if not send_missed(rows, connection):
            return
    # No line from here on yields to another greenlet, so that no notification comes in between.
    held, connection.held = connection.held, []
    connection.live = True
    for notification in held:
        connection.deliver(notification)
