"""Periodic duties: what one of them, one tenant or one payment fails at keeps nothing else from being done."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from app.runtime.runtime import Runtime
from app.services.audit_chain import heads
from app.services.operators import reconciliation
from app.services.payments import queries as payments
from app.services.upkeep import duties, sweep
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine
from tests.support.postgres import held_lock


def test_a_sweep_rings_whatever_becomes_of_its_heartbeat(shop: Shop, engine: Engine) -> None:
    engine.sweep()
    shop.deposit()
    redis = engine.runtime.redis
    redis.delete("ring.provider")
    with held_lock(engine.databases, "select from heartbeats where name = 'sweep' for update"):
        duties.run(engine.runtime, "sweep", sweep.sweep)
        assert redis.llen("ring.provider") == 1
    engine.call()


def test_a_duty_that_fails_keeps_none_after_it_from_being_done(engine: Engine) -> None:
    done: list[str] = []

    def first(_: Runtime) -> None:
        raise ValueError("first")

    def second(runtime: Runtime) -> None:
        with runtime.database.transaction("worker") as connection:
            connection.execute(text("set local lock_timeout = 1"))
            connection.execute(text("update heartbeats set at = now() where name = 'sweep'"))

    def third(_: Runtime) -> None:
        done.append("third")

    engine.sweep()
    with held_lock(engine.databases, "select from heartbeats where name = 'sweep' for update"):
        # The database's trouble is no failure of the task; an error is, once all had their turn.
        duties.run(engine.runtime, "sweep", second, third)
        with pytest.raises(ValueError, match="first"):
            duties.run(engine.runtime, "sweep", first, second, third)
    assert done == ["third", "third"]


def test_a_tenant_whose_counter_is_locked_keeps_no_other_from_its_numbers(front: Stack, engine: Engine) -> None:
    held, other = front.make_shop(), front.make_shop()
    waiting = "select count(*) from notification_work where tenant_id = :id"
    for shop in (held, other):
        engine.start(shop)
        # A cancel does not number its notification: that waits for a worker.
        payments.cancel_payment(front.runtime, shop.caller, engine.start(shop).id)
        assert engine.databases.value(waiting, id=shop.tenant_id) == 1
    lock = "select from notification_counters where tenant_id = %s for update"
    with held_lock(engine.databases, lock, held.tenant_id):
        engine.number()
        assert engine.databases.value(waiting, id=held.tenant_id) == 1
        assert engine.databases.value(waiting, id=other.tenant_id) == 0
    engine.number()
    assert engine.databases.value(waiting, id=held.tenant_id) == 0


def test_a_locked_payment_does_not_stop_a_reconciliation(front: Stack, shop: Shop, engine: Engine) -> None:
    payments = [shop.deposit() for _ in range(3)]
    for payment in payments:
        front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    engine.call()
    for payment in payments:
        front.sandbox.act(str(shop.payment(payment.id).provider_reference), "pay")
    now = datetime.datetime.now(datetime.UTC)
    period = (now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1))
    lock = "select from payment_transactions where id = %s for update"
    with held_lock(engine.databases, lock, payments[0].id):
        report = reconciliation.reconcile(front.runtime, shop.provider_id, *period, ACTOR)
        assert (report.compared, report.settled, report.in_flight) == (3, 2, 1)
    report = reconciliation.reconcile(front.runtime, shop.provider_id, *period, ACTOR)
    assert (report.settled, report.in_flight) == (1, 0)
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"completed"}


def test_a_line_that_is_no_head_keeps_no_other_head_from_moving_on(
    front: Stack, engine: Engine, tmp_path: Path
) -> None:
    shop, path = front.make_shop(), tmp_path / "heads"
    with engine.databases.open_runtime(SLUICE_SEAL_HEAD_PATH=str(path)) as runtime:
        heads.keep_heads(runtime)
        noise = b"\xff{not ours}\n"
        path.write_bytes(noise + path.read_bytes())
        shop.deposit()
        heads.keep_heads(runtime)
    lines = path.read_bytes().splitlines(keepends=True)
    assert noise in lines
    newest = engine.databases.value("select max(number) from audit_seals where tenant_id = :id", id=shop.tenant_id)
    kept = {json.loads(line)["tenant_id"]: json.loads(line)["seals"] for line in lines if line != noise}
    assert kept[str(shop.tenant_id)] == newest
