"""Turns at the database are taken in the order in which they were asked for, and none is lost."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.sockets.turns import Turns

# Long against what a busy machine needs to switch between greenlets.
SECONDS = 20.0


def hold(turns: Turns, release: Event, done: list[str], name: str) -> None:
    """Take a turn, note it, and keep it until `release`."""
    with turns.take():
        done.append(name)
        release.wait()


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns, release, done = Turns(1, SECONDS), Event(), list[str]()
    names = ["first", "second", "third", "fourth"]
    greenlets = [gevent.spawn(hold, turns, release, done, name) for name in names]
    gevent.idle()
    assert done == ["first"]
    release.set()
    gevent.joinall(greenlets, timeout=SECONDS, raise_error=True)
    assert done == names


def test_a_turn_handed_on_is_not_free_for_others_before_it_is_taken_up() -> None:
    turns, done = Turns(1, SECONDS), list[str]()
    never = Event()
    holder, released = gevent.spawn(hold, turns, never, done, "holder"), Event()
    gevent.idle()
    waiter = gevent.spawn(hold, turns, released, done, "waiter")
    gevent.idle()
    holder.kill()
    # Here the turn is given to the waiter, which has not run yet; it is this greenlet that asks first.
    overtaking = gevent.spawn(hold, turns, released, done, "overtaking")
    overtaking.join(0)
    gevent.idle()
    assert done == ["holder", "waiter"]
    released.set()
    gevent.joinall([waiter, overtaking], timeout=SECONDS, raise_error=True)
    assert done == ["holder", "waiter", "overtaking"]


def test_a_row_whose_wait_ends_raises_and_leaves_the_queue() -> None:
    turns, release, done = Turns(1, 0.01), Event(), list[str]()
    holder = gevent.spawn(hold, turns, release, done, "holder")
    gevent.idle()
    with pytest.raises(PoolTimeout), turns.take():
        done.append("never")
    release.set()
    holder.join(SECONDS)
    with turns.take():
        done.append("next")
    assert done == ["holder", "next"]


def test_a_turn_given_to_one_that_is_being_ended_goes_to_the_next() -> None:
    turns, release, done = Turns(1, SECONDS), Event(), list[str]()
    holder = gevent.spawn(hold, turns, release, done, "holder")
    gevent.idle()
    doomed, waiter = (gevent.spawn(hold, turns, release, done, name) for name in ("doomed", "waiter"))
    gevent.idle()
    release.set()
    doomed.kill(block=False)
    gevent.joinall([holder, doomed, waiter], timeout=SECONDS)
    with turns.take():
        done.append("last")
    assert done[0] == "holder"
    assert done[-2:] == ["waiter", "last"]
