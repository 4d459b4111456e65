"""A process that dies at the commit of a debit or of its reversal leaves all of it or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from app.core.errors import RequestRejected
from testbed.shop import Shop
from tests.integration.debits.debit_requests import check_books, count_debits, credit, give_back, take, wallet
from tests.scenarios.crashing import Crashed, CrashingDatabase, When
from tests.support.engine import Engine


def die(engine: Engine, shop: Shop, when: When, act: Callable[[Shop], object]) -> None:
    """Do something in a process that dies at its first commit."""
    database = CrashingDatabase(engine.databases.database_url, 4)
    try:
        database.arm(1, when)
        with pytest.raises(Crashed):
            act(dataclasses.replace(shop, runtime=dataclasses.replace(shop.runtime, database=database)))
    finally:
        database.engine.dispose()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_debit_is_one_commit(engine: Engine, shop: Shop, when: When) -> None:
    credit(engine, shop)
    die(engine, shop, when, lambda dying: take(dying, "10.00", "dying"))
    assert count_debits(engine, shop) == (1 if when == "after" else 0)
    check_books(engine, shop)
    assert take(shop, "10.00", "dying").is_replayed == (when == "after")
    assert (count_debits(engine, shop), wallet(shop)) == (1, (1500, 0, 1500))
    check_books(engine, shop)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reversal_is_one_commit(engine: Engine, shop: Shop, when: When) -> None:
    credit(engine, shop)
    made = take(shop, "10.00")
    die(engine, shop, when, lambda dying: give_back(dying, made))
    assert wallet(shop)[0] == (2500 if when == "after" else 1500)
    check_books(engine, shop)
    if when == "after":
        with pytest.raises(RequestRejected):
            give_back(shop, made)
    else:
        give_back(shop, made)
    assert wallet(shop) == (2500, 0, 2500)
    check_books(engine, shop)
