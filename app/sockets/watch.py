"""Periodic checks of live connections, in a few greenlets for all of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import gevent
import structlog

from app.services.access.callers import find_dead_keys, find_dead_tokens
from app.services.access.key_uses import KeyUses
from app.sockets.connection import TOKEN_ENDED, LiveConnection
from app.sockets.hub import Hub
from models import Database

log = structlog.get_logger(__name__)

# Ends of tokens and keep-alives: a token's end is noticed this late at most.
CHECK_SECONDS = 1.0
# Connections of a revoked key must be closed within about a second.
TOKEN_SECONDS = 1.0
# How late a notification may be whose hint was lost.
COUNTER_SECONDS = 2.0


def start_watching(hub: Hub, database: Database) -> None:
    """Start the greenlets that check connections, tokens and counters for the life of the process."""
    gevent.spawn(repeat, CHECK_SECONDS, lambda: check_connections(hub))
    gevent.spawn(repeat, TOKEN_SECONDS, lambda: close_dead(hub, database))
    uses = KeyUses(database)
    gevent.spawn(repeat, TOKEN_SECONDS, lambda: check_keys(hub, database, uses))
    gevent.spawn(repeat, COUNTER_SECONDS, hub.compare_counters)


def repeat(seconds: float, check: Callable[[], object]) -> None:
    """Call `check` every `seconds`, whatever it raises: a database that is down must not end the checks."""
    while True:
        started = time.monotonic()
        try:
            check()
        except Exception as error:
            log.warning("check_failed", error=type(error).__name__)
        gevent.sleep(max(0.05, started + seconds - time.monotonic()))


def check_connections(hub: Hub) -> None:
    """Check every connection: keep-alive, close at the token's end, cut."""
    now = time.monotonic()
    for connection in tuple(hub.connections):
        connection.check(now)


def close_dead(hub: Hub, database: Database) -> None:
    """Close the connections whose token has ended because its key was revoked.

    Revoking ends all tokens of a key, so that one token per key is checked, the one that lasts longest; all of a key's
    tokens are checked only where that one is dead.
    """
    by_key: dict[uuid.UUID, list[LiveConnection]] = {}
    for connection in hub.connections:
        if connection.caller.token_id is not None:
            by_key.setdefault(connection.caller.key_id, []).append(connection)
    if not by_key:
        return
    witnesses = {key_id: _token(max(found, key=lambda c: c.ends_at)) for key_id, found in by_key.items()}
    dead_witnesses = find_dead_tokens(database, list(witnesses.values()))
    suspects = [c for key_id, found in by_key.items() if witnesses[key_id] in dead_witnesses for c in found]
    if not suspects:
        return
    dead = find_dead_tokens(database, list({_token(connection) for connection in suspects}))
    for connection in suspects:
        if _token(connection) in dead:
            connection.close(TOKEN_ENDED, "token_ended")


def check_keys(hub: Hub, database: Database, uses: KeyUses) -> None:
    """Close the connections of secret keys that have expired or were revoked, and record the use of the others."""
    held = [connection for connection in hub.connections if connection.caller.token_id is None]
    if not held:
        return
    dead = find_dead_keys(database, list({connection.caller.public_part for connection in held}))
    for connection in held:
        if connection.caller.public_part in dead:
            connection.close(TOKEN_ENDED, "token_ended")
        else:
            uses.note(connection.caller.key_id)


def _token(connection: LiveConnection) -> uuid.UUID:
    token_id = connection.caller.token_id
    if token_id is None:
        raise TypeError("only clients with a token have connections")
    return token_id
