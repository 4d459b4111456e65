"""Random lives of money that goes back and forth; `SLUICE_TEST_PROFILE=long` lives a thousand of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from app.runtime.runtime import Runtime
from testbed.servers import Databases, Servers
from tests.scenarios.money.money_lives import MoneyLife

IS_LONG = os.environ.get("SLUICE_TEST_PROFILE") == "long"
LIVES, STEPS = (1_000 if IS_LONG else 20), 60


@pytest.fixture
def own(servers: Servers) -> Iterator[tuple[Runtime, Databases]]:
    with servers.open_databases() as databases, databases.open_runtime() as runtime:
        yield runtime, databases


@pytest.mark.slow
@pytest.mark.timeout(0 if IS_LONG else 420)
def test_the_books_are_whole_after_every_step(own: tuple[Runtime, Databases]) -> None:
    runtime, databases = own
    steps: Counter[str] = Counter()
    for seed in range(LIVES):
        life = MoneyLife(runtime, databases, seed)
        life.live(STEPS)
        steps += life.steps
    # What the lives are about has happened in them.
    moved = databases.rows("select type, count(*) as entries from wallet_transactions group by type")
    assert {row["type"] for row in moved} >= {
        *("deposit", "reversal", "reinstatement", "refund"),
        *("debit", "debit_reversal"),
        *("suspense", "suspense_refund", "suspense_reversal", "suspense_reinstatement"),
    }
    refused = ("ask refused", "decide refused", "spend refused")
    assert min(steps[name] for name in ("report", "ask", "answer", "decide", "spend", *refused)) > LIVES // 4
