"""Deposits that are asked for at once are one statement, and each has its own answer."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from sqlalchemy.exc import IntegrityError

from app.runtime.runtime import Runtime
from app.services.payments import deposits
from app.services.verification import prove
from models import new_id
from testbed.servers import Databases
from testbed.shop import ORIGIN, Shop, make_shop, new_deposit
from testbed.waiting import wait_until
from tests.integration.payments.deposit_requests import create, refused_fields
from tests.support.commit_turns import run_as_one_group

BLOCKED = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"


class Taken:
    """Keys that another process has inserted and not committed yet."""

    def __init__(self, databases: Databases, shop: Shop) -> None:
        self._connection = psycopg2.connect(databases.superuser_url)
        self._shop = shop

    def take(self, key: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "insert into payment_transactions (id, tenant_id, user_id, amount_minor, currency, provider_id,"
                " idempotency_scope, idempotency_key, request_sha256, expires_at)"
                " values (%s, %s, 'ann', 2500, 'USD', %s, '', %s, %s, now())",
                (str(new_id()), str(self._shop.tenant_id), str(self._shop.provider_id), key, bytes(32)),
            )

    def end(self, *, is_committed: bool) -> None:
        if is_committed:
            self._connection.commit()
        else:
            self._connection.rollback()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def taken(databases: Databases, tenant: Shop) -> Iterator[Taken]:
    opened = Taken(databases, tenant)
    yield opened
    opened.close()


def gather(tenant: Shop, asked: Sequence[Callable[[], Any]]) -> list[Future[Any]]:
    """Run all calls of the tenant in one group."""
    return run_as_one_group(deposits._commits(tenant.runtime.database, tenant.tenant_id), asked)


HOSTILE = [
    *(
        '"',
        "\\",
        '\\"',
        "'",
        "''",
        "{}",
        "{a,b}",
        "a,b",
        "NULL",
        "null",
        " ",
        "  x  ",
        "%s %(rows)s",
        ":tenant_id",
        "$1",
    ),
    *("\\x00", "--", "; select 1", "\\n", '{"a": 1}', "~" * 255),
]


def test_keys_and_texts_are_stored_as_they_are(databases: Databases, tenant: Shop) -> None:
    texts = {str(number): text + "\u00e9\n\t\U0001f600" for number, text in enumerate(HOSTILE)}
    asked: list[Callable[[], Any]] = [
        lambda key=key: create(tenant, key, metadata=texts, success_url=f"{ORIGIN}/{key}") for key in HOSTILE
    ]
    made = [one.result() for one in gather(tenant, asked)]
    assert [one.is_replayed for one in made] == [False] * len(HOSTILE)
    assert all(one.payment.metadata == texts for one in made)
    rows = databases.rows(
        "select idempotency_key, success_url, metadata from payment_transactions where metadata <> '{}'"
    )
    assert {row["idempotency_key"]: row["success_url"] for row in rows} == {key: f"{ORIGIN}/{key}" for key in HOSTILE}
    assert all(row["metadata"] == texts for row in rows)
    for one, key in zip(made, HOSTILE, strict=True):
        assert create(tenant, key).payment == one.payment


def test_those_who_ask_at_once_are_one_statement_and_each_gets_its_own_answer(
    databases: Databases, tenant: Shop
) -> None:
    create(tenant, "old")
    databases.rows("update tenants set amount_minor_max = 5000")
    asked: list[Callable[[], Any]] = [
        *(lambda index=index: create(tenant, user_id=f"user-{index}", amount_minor=100 + index) for index in range(10)),
        lambda: create(tenant, "old"),
        lambda: create(tenant, amount_minor=5001),
        lambda: create(tenant, "same"),
        lambda: create(tenant, "same"),
        lambda: create(tenant, "same", caller=tenant.client("ann")),
        lambda: create(tenant, failure_url="https://evil.example/"),
    ]
    futures = gather(tenant, asked)
    made = [one.result() for one in futures[:10]]
    assert [(one.payment.user_id, one.payment.amount_minor, one.is_replayed) for one in made] == [
        (f"user-{index}", 100 + index, False) for index in range(10)
    ]
    # The time of a row is its transaction's.
    assert len({one.payment.created_at for one in made}) == 1
    assert futures[10].result().is_replayed
    assert refused_fields(futures[11].result) == {"amount"}
    twins = [one.result() for one in futures[12:14]]
    assert len({one.payment.id for one in twins}) == 1
    assert sorted(one.is_replayed for one in twins) == [False, True]
    assert futures[14].result().payment.id != twins[0].payment.id
    assert refused_fields(futures[15].result) == {"failure_url"}
    counted = [databases.value(f"select count(*) from {table}") for table in ("wallet_temp_logs", "payment_work")]
    assert counted == [1 + 12] * 2


def test_a_row_that_the_table_refuses_fails_in_isolation(databases: Databases, tenant: Shop) -> None:
    # The API lets none of these through; the table's own check is the last word.
    asked: list[Callable[[], Any]] = [lambda: create(tenant) for _ in range(6)]
    asked[3] = lambda: create(tenant, amount_minor=10**15 + 1)
    futures = gather(tenant, asked)
    with pytest.raises(IntegrityError, match="amount_minor"):
        futures[3].result()
    assert [one.result().is_replayed for index, one in enumerate(futures) if index != 3] == [False] * 5
    assert databases.value("select count(*) from wallet_temp_logs") == 5


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_parallel_request_waits_for_the_first_ones_end(
    databases: Databases, tenant: Shop, taken: Taken, *, is_committed: bool
) -> None:
    taken.take("key-1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(create, tenant, "key-1")
        wait_until(lambda: databases.value(BLOCKED, name=databases.name), "the request waits for a lock")
        taken.end(is_committed=is_committed)
        assert waiting.result().is_replayed is is_committed
    assert databases.value("select count(*) from payment_transactions") == 1
    assert databases.value("select count(*) from wallet_temp_logs") == (0 if is_committed else 1)


def test_tenants_who_ask_at_once_stay_apart(runtime: Runtime, databases: Databases) -> None:
    shops = [make_shop(runtime) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda index: create(shops[index % 4], f"key-{index // 4}"), range(64)))
    assert not any(one.is_replayed for one in made)
    for index, shop in enumerate(shops):
        mine = [one.payment for one in made[index::4]]
        assert {one.tenant_id for one in mine} == {shop.tenant_id}
        assert {one.provider_id for one in mine} == {shop.provider_id}
        stored = "select count(*) from audit_logs where tenant_id = :id and payment_id = any(:mine)"
        assert databases.value(stored, id=shop.tenant_id, mine=[one.id for one in mine]) == 16


def test_two_processes_with_the_same_keys_make_each_payment_once(databases: Databases, tenant: Shop) -> None:
    # As two processes have them: lines of their own, and so groups that share keys.
    with databases.open_runtime() as other:
        runtimes = [tenant.runtime, other]
        start = threading.Barrier(16)

        def storm(number: int) -> list[tuple[str, uuid.UUID, bool]]:
            start.wait()
            keys = [f"key-{index}" for index in range(40)]
            secrets.SystemRandom().shuffle(keys)
            made = [
                (key, deposits.create_deposit(runtimes[number % 2], tenant.caller, new_deposit(key))) for key in keys
            ]
            return [(key, one.payment.id, one.is_replayed) for key, one in made]

        with ThreadPoolExecutor(16) as pool:
            reported = [one for answers in pool.map(storm, range(16)) for one in answers]
    assert len({(key, payment_id) for key, payment_id, _ in reported}) == 40
    assert sum(not is_replayed for *_, is_replayed in reported) == 40
    for table in ("payment_transactions", "wallet_temp_logs", "payment_work"):
        assert databases.value(f"select count(*) from {table}") == 40
    report = prove(tenant.runtime.database, "full")
    assert report.is_whole, report.as_json()
