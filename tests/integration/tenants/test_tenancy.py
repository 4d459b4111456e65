"""Two tenants in one database: the first wall is the query, the second the database itself."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.facts import Command, CommandKind, Fact, FactKind, Input
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.webhooks import settle
from models import new_id
from testbed.servers import Databases
from testbed.shop import Shop, make_shop


def fill(shop: Shop) -> None:
    """Leave rows of every kind: paid, failed, conflicting, unusable, unknown, refused."""
    paid, failed, held = (shop.deposit(user_id=user) for user in ("ann", "bob", "eve"))
    shop.deposit()
    shop.deliver(shop.body(paid), webhook_id="msg_1")
    shop.deliver(shop.body(paid, amount="24.00"), webhook_id="msg_1")
    shop.deliver(shop.body(failed, "failed"))
    shop.deliver(shop.body(held, amount="1.00"))
    shop.deliver(shop.body(held, amount=None))
    settle.settle_due(shop.runtime)
    shop.deliver(shop.body(paid))
    shop.token("ann")


@pytest.fixture
def shops(runtime: Runtime) -> list[Shop]:
    made = [make_shop(runtime), make_shop(runtime)]
    for shop in made:
        fill(shop)
    return made


def tenant_tables(databases: Databases) -> dict[str, str]:
    """Tables with tenants' rows, and the column that names the tenant."""
    rows = databases.rows(
        "select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'"
        " where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace"
    )
    return {row["name"]: "tenant_id" for row in rows} | {"tenants": "id"}


def test_as_web_of_one_tenant_no_row_of_another_is_seen(
    databases: Databases, runtime: Runtime, shops: list[Shop]
) -> None:
    mine, theirs = shops
    seen = {}
    for table, column in tenant_tables(databases).items():
        count = f"select count(*) from {table} where {column} = :id"
        try:
            with runtime.database.transaction("web", mine.tenant_id) as connection:
                others = connection.execute(text(count), {"id": theirs.tenant_id}).scalar_one()
                nobodys = connection.execute(text(f"select count(*) from {table} where {column} is null")).scalar_one()
                own = connection.execute(text(count), {"id": mine.tenant_id}).scalar_one()
        except DBAPIError as error:
            # A table that web may not read at all.
            if "permission denied" not in str(error):
                raise
            continue
        assert (others, nobodys) == (0, 0), table
        assert own == databases.value(count, id=mine.tenant_id), table
        seen[table] = own
    assert seen.keys() >= {"payment_transactions", "wallets", "wallet_transactions", "notifications", "audit_logs"}
    assert all(seen[table] for table in ("payment_transactions", "wallets", "dead_letters", "payment_webhooks"))


def test_without_a_tenant_web_sees_nothing_at_all(databases: Databases, runtime: Runtime, shops: list[Shop]) -> None:
    for table in ("tenants", "payment_transactions", "wallets", "wallet_transactions", "audit_logs", "dead_letters"):
        with runtime.database.transaction("web") as connection:
            assert connection.execute(text(f"select count(*) from {table}")).scalar_one() == 0


def test_the_door_reads_no_table(databases: Databases, runtime: Runtime, shops: list[Shop]) -> None:
    for table in (*tenant_tables(databases), "heartbeats"):
        with pytest.raises(DBAPIError, match="permission denied"), runtime.database.transaction("door") as connection:
            connection.execute(text(f"select 1 from {table} limit 1"))


def test_the_tenant_ends_with_its_transaction(runtime: Runtime, shops: list[Shop]) -> None:
    count = text("select count(*) from payment_transactions")
    with runtime.database.engine.connect() as connection:
        # One connection of the pool, as the next request finds it.
        before = connection.execute(text("select current_user, current_setting('app.tenant', true)")).one()
    with runtime.database.transaction("web", shops[0].tenant_id) as connection:
        assert connection.execute(count).scalar_one() == 4
    with runtime.database.engine.connect() as connection:
        after = connection.execute(text("select current_user, current_setting('app.tenant', true)")).one()
    assert before[0] == after[0] == "sluice_app"
    assert not after[1]


WRITES = {
    "a payment for another tenant": "update payment_transactions set tenant_id = :theirs returning id",
    "another tenant's payment": (
        "update payment_transactions set status = 'failed' where tenant_id = :theirs returning id"
    ),
    "a hold for another tenant": "update wallet_temp_logs set tenant_id = :theirs returning payment_id",
    "another tenant's hold": (
        "update wallet_temp_logs set state = 'released' where tenant_id = :theirs returning payment_id"
    ),
    "another tenant's work": "delete from payment_work where tenant_id = :theirs returning payment_id",
    "an audit row for another tenant": (
        "insert into audit_logs (tenant_id, actor, kind, detail) values (:theirs, 'system', 'forged', '{}')"
        " returning id"
    ),
}


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES)
def test_as_web_of_one_tenant_nothing_of_another_is_written(
    runtime: Runtime, shops: list[Shop], statement: str
) -> None:
    mine, theirs = shops
    touched = []
    try:
        with runtime.database.transaction("web", mine.tenant_id) as connection:
            touched = connection.execute(text(statement), {"theirs": theirs.tenant_id}).all()
    except DBAPIError as error:
        if not any(why in str(error) for why in ("row-level security", "permission denied", "keeps its rows")):
            raise
    assert touched == []


def test_keys_across_tenants_are_refused_by_the_database(databases: Databases, shops: list[Shop]) -> None:
    mine, theirs = shops
    for table in ("wallet_temp_logs", "payment_work", "payment_transactions", "provider_secrets"):
        with pytest.raises(DBAPIError, match=r"foreign key|unique|keeps its rows"):
            databases.rows(
                f"update {table} set tenant_id = :theirs where tenant_id = :mine",
                theirs=theirs.tenant_id,
                mine=mine.tenant_id,
            )


def test_nothing_of_what_happened_mixed_the_tenants(databases: Databases, shops: list[Shop]) -> None:
    for shop in shops:
        balances = databases.rows(
            "select kind, sum(balance_minor) as total from wallets where tenant_id = :id group by kind order by kind",
            id=shop.tenant_id,
        )
        assert balances == [{"kind": "clearing", "total": -2500}, {"kind": "user", "total": 2500}]
    mixed = databases.value(
        "select count(*) from wallet_transactions e join wallets w on w.id = e.wallet_id"
        " join payment_transactions p on p.id = e.payment_id"
        " where e.tenant_id <> w.tenant_id or e.tenant_id <> p.tenant_id"
    )
    assert mixed == 0


FOREIGN: list[Input] = [
    Fact(FactKind.SUCCEEDED, "ref_1", amount_minor=2500, currency="USD"),
    Fact(FactKind.DECLINED),
    Fact(FactKind.CANCELLED),
    Command(CommandKind.CANCEL),
    Command(CommandKind.EXPIRE),
    Command(CommandKind.ACCEPT, new_id(), 2500, "USD"),
    Command(CommandKind.REJECT, new_id(), 2500, "USD"),
]


@pytest.mark.parametrize("names_provider", [True, False], ids=["provider", "no provider"])
@pytest.mark.parametrize("given", FOREIGN, ids=lambda given: f"{type(given).__name__} {given.kind}")
def test_a_worker_settles_nothing_of_a_tenant_that_the_item_does_not_name(
    runtime: Runtime, given: Input, names_provider: bool
) -> None:
    """The worker's role sees all tenants: here the comparison in settlement is the only wall.

    The item has the right provider's id and the wrong tenant's: no other comparison may replace the tenant's.
    """
    mine, theirs = make_shop(runtime), make_shop(runtime)
    payment = theirs.deposit()
    item = Item(mine.tenant_id, payment.id, given, "test", theirs.provider_id if names_provider else None)
    with settlement.open(runtime, "worker") as batch:
        (outcome,) = batch.settle([item])
    assert outcome.decision is None
    assert theirs.payment(payment.id) == payment
