"""Notifications: numbered per tenant in the order of their visibility, without gaps, whichever process numbers them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.runtime.hints import CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL
from app.runtime.runtime import Runtime
from app.services.records import notifications
from app.services.webhooks import settle
from app.sockets.rows import LiveQueries
from app.sockets.turns import Turns
from testbed.servers import Databases
from testbed.shop import Shop, make_shop


def numbers(databases: Databases, shop: Shop) -> list[int]:
    rows = databases.rows(
        "select number from notification_numbers where tenant_id = :id order by number", id=shop.tenant_id
    )
    return [row["number"] for row in rows]


def test_numbers_have_no_gaps_however_many_give_them(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    other = make_shop(runtime)
    for shop in (tenant, other):
        for _ in range(30):
            shop.deliver(shop.body(shop.deposit()))
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(settle.settle_due, runtime) for _ in range(3)]
        jobs += [pool.submit(notifications.number_due, runtime) for _ in range(6)]
        for job in jobs:
            job.result()
    notifications.number_due(runtime)
    assert numbers(databases, tenant) == numbers(databases, other) == list(range(1, 31))
    assert databases.value("select count(*) from notification_work") == 0


def test_a_reader_that_follows_misses_nothing(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    for _ in range(40):
        tenant.deliver(tenant.body(tenant.deposit()))
    seen: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(settle.settle_due, runtime) for _ in range(2)]
        while not all(job.done() for job in jobs) or len(seen) < 40:
            after = seen[-1] if seen else 0
            rows = notifications.read_after(runtime.database, tenant.tenant_id, None, after, 7)
            seen += [row["id"] for row in rows]
            if all(job.done() for job in jobs):
                notifications.number_due(runtime)
    # Once an id was shown, no smaller one appeared.
    assert seen == list(range(1, 41))


def test_each_change_is_reported_once_and_as_it_was(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    payment = tenant.deposit()
    for status in ("failed", "success", "success", "failed", "failed"):
        tenant.deliver(tenant.body(payment, status))
        settle.settle_due(runtime)
    notifications.number_due(runtime)
    reported = notifications.read_after(runtime.database, tenant.tenant_id, None, 0, 100)
    assert [(row["type"], row["payment"]["status"], row["payment"]["exception"]) for row in reported] == [
        ("payment.failed", "failed", None),
        ("payment.completed", "completed", "late"),
        ("payment.review", "completed", "conflict"),
    ]
    assert [row["payment"]["version"] for row in reported] == [2, 3, 4]
    assert notifications.last_number(runtime.database, tenant.tenant_id) == 3


def wait_unnumbered(databases: Databases, shop: Shop, count: int) -> None:
    """Let `count` notifications of the shop wait for their numbers, as a web process leaves them."""
    databases.rows(
        "with written as (insert into notifications (id, tenant_id, user_id, payment_id, type, payload)"
        " select uuidv7(), :id, 'bob', uuidv7(), 'payment.cancelled', '{}' from generate_series(1, :count)"
        " returning id)"
        " insert into notification_work (notification_id, tenant_id, user_id) select id, :id, 'bob' from written",
        id=shop.tenant_id,
        count=count,
    )


@pytest.mark.parametrize("waiting", [1, notifications.NUMBER_BATCH - 1, notifications.NUMBER_BATCH + 1])
def test_what_is_new_comes_after_all_that_waited(
    databases: Databases, runtime: Runtime, tenant: Shop, waiting: int
) -> None:
    wait_unnumbered(databases, tenant, waiting)
    tenant.deliver(tenant.body(tenant.deposit()))
    settle.settle_due(runtime)
    reported = notifications.read_after(runtime.database, tenant.tenant_id, None, 0, waiting + 10)
    assert [row["type"] for row in reported] == ["payment.cancelled"] * waiting + ["payment.completed"]
    assert numbers(databases, tenant) == list(range(1, waiting + 2))
    assert databases.value("select count(*) from notification_work") == 0


def test_while_another_gives_numbers_notifications_wait_and_nobody_for_them(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    payment = tenant.deposit()
    wait_unnumbered(databases, tenant, 1)
    with runtime.database.transaction("worker") as other:
        assert notifications.number(other, [(payment, "payment.redirect_ready", None)]).numbered
        for _ in range(3):
            tenant.deliver(tenant.body(tenant.deposit()))
        settle.settle_due(runtime)
        assert databases.value("select count(*) from payment_transactions where status = 'completed'") == 3
        assert numbers(databases, tenant) == []
    notifications.number_due(runtime)
    reported = notifications.read_after(runtime.database, tenant.tenant_id, None, 0, 10)
    assert [row["type"] for row in reported] == [
        *("payment.cancelled", "payment.redirect_ready"),
        *("payment.completed", "payment.completed", "payment.completed"),
    ]


def test_sockets_read_what_the_api_lists(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    payments = [tenant.deposit(), tenant.deposit(user_id="bob"), tenant.deposit()]
    with runtime.database.transaction("worker") as connection:
        numbering = notifications.number(
            connection, [(payment, "payment.disputed", {"dispute": {"id": "dp"}}) for payment in payments]
        )
    assert numbering.numbered == {tenant.tenant_id: (3, 3)}
    listed = notifications.read_after(runtime.database, tenant.tenant_id, "ann", 0, 10)
    page = LiveQueries(runtime.database, Turns(1, 1.0)).read_live(tenant.tenant_id, 0, {"ann"})
    assert [json.loads(one.text) for one in page.notifications] == json.loads(json.dumps(listed))
    assert [(one.number, one.user_id, one.type) for one in page.notifications] == [
        (row["id"], row["payment"]["user_id"], row["type"]) for row in listed
    ]
    # Bob is not connected: his notification is counted and not decoded.
    assert (page.count, page.last_number) == (3, 3)


def test_hints_carry_ids_and_numbers_only(runtime: Runtime, tenant: Shop) -> None:
    with runtime.redis.pubsub() as heard:
        heard.subscribe(CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL)
        payment = tenant.deposit()
        tenant.deliver(tenant.body(payment))
        settle.settle_due(runtime)
        runtime.redis.publish(CHANGED_CHANNEL, b"end")
        hints = dict.fromkeys((CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL), b"")
        for message in heard.listen():
            if message["data"] == b"end":
                break
            if message["type"] == "message":
                hints[message["channel"].decode()] += message["data"]
    assert hints[CHANGED_CHANNEL] == payment.id.hex.encode()
    assert hints[NOTIFICATIONS_CHANNEL] == f"{tenant.tenant_id.hex} 1".encode()


def test_a_lost_hint_loses_no_notification(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    payment = tenant.deposit()
    tenant.deliver(tenant.body(payment))
    settle.settle_due(runtime)
    runtime.redis.flushall()
    databases.rows("delete from notification_numbers")
    databases.rows("update notifications set number = null")
    # The settler numbers at once; the next reader numbers what the settler had not reached.
    databases.rows("delete from notification_counters")
    databases.rows(
        "insert into notification_work (notification_id, tenant_id, user_id)"
        " select id, tenant_id, user_id from notifications"
    )
    notifications.number_due(runtime)
    assert [row["type"] for row in notifications.read_after(runtime.database, tenant.tenant_id, "ann", 0, 10)] == [
        "payment.completed"
    ]
