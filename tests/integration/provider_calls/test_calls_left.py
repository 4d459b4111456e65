"""What is due and was not claimed: a claim says so, the sweep rings for it, and the backlog counts it."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import text

from app.services.payments.calls.provider_claims import CallClaims, claim_calls
from app.services.queues.dispatcher import UnderWay
from app.services.upkeep import sweep
from testbed.servers import Databases
from testbed.shop import Shop


@pytest.fixture
def shop(tenant: Shop, databases: Databases) -> Shop:
    """Provide the shop with five calls: two creates and a poll are due, a poll and a create are planned."""
    ids = [tenant.deposit(user_id=f"user-{number}").id for number in range(5)]
    plan(databases, ids[2:4], action="poll")
    plan(databases, ids[3:], due_at="infinity")
    return tenant


def plan(databases: Databases, ids: list[uuid.UUID], **columns: str) -> None:
    """Change the work rows of some payments."""
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    databases.rows(f"update payment_work set {changes} where payment_id = any(:ids)", ids=ids, **columns)


def claim(shop: Shop, room: int) -> CallClaims:
    return claim_calls(shop.runtime, room, UnderWay(10))


def count_due(shop: Shop) -> int:
    with shop.runtime.database.transaction("worker") as connection:
        due = connection.execute(text("select due, oldest_seconds from watch_work() where queue = 'provider'")).one()
    assert (due.oldest_seconds is not None) == (due.due > 0)
    return int(due.due)


def is_rung_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> bool:
    rung: list[str] = []
    monkeypatch.setattr(shop.runtime.doorbells, "ring_regardless", rung.append)
    sweep.sweep(shop.runtime)
    return "provider" in rung


def test_calls_are_left_until_creates_and_polls_are_claimed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for _ in range(4):
        due, is_rung = count_due(shop), is_rung_for(shop, monkeypatch)
        claims = claim(shop, 1)
        seen.append((due, is_rung, len(claims.calls), claims.is_more_due, claims.is_contended))
    assert seen == [
        (3, True, 1, True, False),
        (2, True, 1, True, False),
        (1, True, 1, False, False),
        (0, False, 0, False, False),
    ]


def test_calls_of_a_provider_that_another_claims_for_are_left(shop: Shop, databases: Databases) -> None:
    with databases.superuser.transaction() as other:
        # The key of the lock that a claim holds until it is committed.
        other.execute("select pg_advisory_xact_lock(x'63616c6c'::int, hashtext(%s))", [str(shop.provider_id)])
        claims = claim(shop, 5)
        assert (claims.calls, claims.is_more_due, claims.is_contended) == ([], True, True)
    claims = claim(shop, 5)
    assert (len(claims.calls), claims.is_more_due, claims.is_contended) == (3, False, False)
