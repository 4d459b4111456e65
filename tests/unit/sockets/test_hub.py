"""A sockets process holds a bounded number of connections, and each that ends gives its place back."""

from __future__ import annotations

import uuid

import pytest

from app.http.problems import Refused
from app.services.access.callers import Caller
from app.sockets.hub import PER_TOKEN_MAX, PER_USER_MAX, Hub
from app.sockets.rows import LiveQueries
from app.sockets.turns import Turns
from models import Database

TENANT, KEY = uuid.uuid4(), uuid.uuid4()


def open_hub(connections_max: int) -> Hub:
    """Return a hub whose database nobody asks: places are counted in the process."""
    return Hub(LiveQueries(Database("postgresql://nobody@127.0.0.1:9/nothing"), Turns(1, 0.0)), connections_max)


def user(name: str, token: int = 0) -> Caller:
    """Return one user's browser."""
    return Caller(TENANT, KEY, "client", (), user_id=name, token_id=uuid.uuid5(TENANT, f"{name}-{token}"))


def test_a_full_process_takes_nobody_until_somebody_leaves() -> None:
    hub = open_hub(3)
    for caller in (user("ann"), user("ann"), user("bob")):
        hub.reserve(caller)
    with pytest.raises(Refused) as refused:
        hub.reserve(user("eve"))
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
    hub.release(user("ann"))
    hub.reserve(user("eve"))
    with pytest.raises(Refused):
        hub.reserve(user("ann"))


def test_one_token_leaves_connections_to_the_users_others() -> None:
    hub = open_hub(100)
    for _ in range(PER_TOKEN_MAX):
        hub.reserve(user("ann"))
    with pytest.raises(Refused, match="A client token may have 10 connections") as refused:
        hub.reserve(user("ann"))
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
    hub.reserve(user("ann", token=1))


def test_who_is_refused_takes_no_place() -> None:
    hub = open_hub(PER_USER_MAX + 1)
    for number in range(PER_USER_MAX):
        hub.reserve(user("ann", number % 2))
    for _ in range(3):
        with pytest.raises(Refused, match="A user may have 20 connections") as refused:
            hub.reserve(user("ann", token=2))
        assert refused.value.status == 429
    hub.reserve(user("bob"))
    for number in range(PER_USER_MAX):
        hub.release(user("ann", number % 2))
    hub.release(user("bob"))
    for number in range(PER_USER_MAX + 1):
        hub.reserve(user(f"user-{number}"))
