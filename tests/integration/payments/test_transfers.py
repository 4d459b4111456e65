"""Transfers: what is settled together shares a counter-entry, and each credit leads to it."""

from __future__ import annotations

from app.services.payments.timeline import read_timeline
from app.services.verification.proving import prove
from app.services.verification.walking import check_payments, check_transfers, list_transfers
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.support.engine import Engine

LEGS = """
    select e.transfer_id, e.payment_id, e.type, e.currency, w.kind, e.direction * e.amount_minor as minor
    from wallet_transactions e join wallets w on w.id = e.wallet_id order by e.transfer_id, w.kind desc, e.id
"""
# The audit rows of releases before transfers of many legs have the amount with what the entries share.
AUDITED_BEFORE = """
    update audit_logs set detail = jsonb_set(
        jsonb_set(detail, '{transfer,amount_minor}', detail->'entries'->0->'amount_minor'), '{entries}',
        (select jsonb_agg(entry - 'amount_minor') from jsonb_array_elements(detail->'entries') as entry))
    where detail ? 'entries'
"""


def test_what_is_settled_together_has_one_counter_entry_by_provider_currency_and_direction(
    databases: Databases, tenant: Shop
) -> None:
    engine, other = Engine(tenant.runtime, databases), make_shop(tenant.runtime)
    paid = [
        tenant.deposit(user_id=user, amount=amount) for user, amount in (("ann", "10"), ("ann", "20"), ("bob", "5"))
    ]
    yen, strange = tenant.deposit(amount="700", currency="JPY"), other.deposit()
    for shop, payment in ((tenant, paid[0]), (other, strange), (tenant, yen), (tenant, paid[1]), (tenant, paid[2])):
        shop.deliver(shop.body(payment))
    tenant.deliver_refund(paid[1], amount="4.00")
    tenant.deliver_refund(paid[2], amount="1.00")
    engine.settle()
    transfers: dict[object, list[tuple[str, int]]] = {}
    for row in databases.rows(LEGS):
        transfers.setdefault(row["transfer_id"], []).append((row["kind"], row["minor"]))
    assert sorted(transfers.values()) == [
        [("user", -400), ("user", -100), ("clearing", 500)],
        [("user", 700), ("clearing", -700)],
        [("user", 1000), ("user", 2000), ("user", 500), ("clearing", -3500)],
        [("user", 2500), ("clearing", -2500)],
    ]
    assert prove(tenant.runtime.database, "full").is_whole
    assert prove(tenant.runtime.database, "incremental").is_whole


def test_each_credit_leads_to_its_counter_entry(databases: Databases, tenant: Shop) -> None:
    payments = [tenant.deposit(user_id=user) for user in ("ann", "bob")]
    for payment in payments:
        tenant.deliver(tenant.body(payment))
    Engine(tenant.runtime, databases).settle()
    counter_entries = set()
    for payment in payments:
        events = read_timeline(tenant.runtime.database, tenant.tenant_id, payment.id)
        entries = [event["detail"] for event in events if event["kind"] == "entry"]
        legs = {entry["wallet"]: (entry["transfer_id"], entry["amount_minor"]) for entry in entries}
        assert len(entries) == 2
        assert legs["user"] == (legs["clearing"][0], 2500)
        assert legs["clearing"][1] == -5000
        counter_entries |= {entry["id"] for entry in entries if entry["wallet"] == "clearing"}
    assert len(counter_entries) == 1


def test_entries_of_releases_before_hold(databases: Databases, tenant: Shop) -> None:
    payments = [tenant.deposit() for _ in range(2)]
    for payment in payments:
        tenant.deliver(tenant.body(payment))
        Engine(tenant.runtime, databases).settle()
    ids = [payment.id for payment in payments]
    with databases.superuser.transaction() as cursor:
        cursor.execute("set local session_replication_role = replica")
        cursor.execute(AUDITED_BEFORE)
        assert cursor.rowcount == len(ids)
    with tenant.runtime.database.snapshot("auditor") as connection:
        assert check_payments(connection, ids) == []
        assert len(transfers := list_transfers(connection, ids)) == len(ids)
        assert check_transfers(connection, sorted(transfers)) == []
