"""Statements that lock by changing: rows are changed in the order of their ids, as every other locks them."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.webhooks import settle
from app.services.webhooks.claims import WebhookQueue
from testbed.servers import Databases
from testbed.shop import Shop
from testbed.waiting import wait_until

_WAITS = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
_OPEN_WALLET = """
    insert into wallets (id, tenant_id, kind, user_id, currency)
    select wallets.id, :tenant_id, 'user', owner.user_id, 'USD'
    from unnest(cast(:ids as uuid[])) with ordinality as wallets (id, number)
    join unnest(cast(:users as text[])) with ordinality as owner (user_id, number) using (number)
    order by number
"""


@pytest.mark.parametrize("count", [9, settle.FEW_ROWS + 5], ids=["kept plans", "own plans"])
@pytest.mark.parametrize("table", ["wallets", "payment_work"])
def test_a_batch_changes_rows_in_the_order_of_their_ids(
    databases: Databases, tenant: Shop, table: str, count: int
) -> None:
    payments = [tenant.deposit(user_id=f"user-{number}") for number in range(count)]
    # The pages have them in the opposite order, and neither users nor webhooks are in either.
    wallet_ids = sorted((uuid.uuid4() for _ in range(count)), reverse=True)
    users = sorted((payment.user_id for payment in payments), key=hash)
    databases.rows(_OPEN_WALLET, tenant_id=tenant.tenant_id, ids=wallet_ids, users=users)
    for payment in sorted(payments, key=lambda payment: hash(payment.id)):
        tenant.deliver(tenant.body(payment))
    name = {"wallets": "id", "payment_work": "payment_id"}[table]
    ids = sorted(wallet_ids) if table == "wallets" else sorted(payment.id for payment in payments)
    held = ids[count // 3]
    with ThreadPoolExecutor(1) as pool, databases.superuser.transaction() as cursor:
        cursor.execute(f"select from {table} where {name} = %s for update", [str(held)])
        # All in one batch.
        settling = pool.submit(settle.settle_batch, tenant.runtime, WebhookQueue())
        wait_until(lambda: databases.value(_WAITS), "the batch waits for the row")
        free = databases.rows(
            f"select {name} as id from {table} where {name} = any(:ids) order by {name} for update skip locked", ids=ids
        )
        assert [row["id"] for row in free] == [one for one in ids if one > held]
    settling.result()
    assert {tenant.payment(payment.id).status for payment in payments} == {"completed"}
