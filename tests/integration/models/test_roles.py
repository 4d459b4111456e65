"""What each role may write: columns, rows and audit entries; and which roles a login may act as."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.services.webhooks import settle
from models.database import Role
from models.logins import ALL_ROLES, LOGIN_ROLES
from testbed.servers import Databases, Servers
from testbed.shop import Shop, make_shop

# Written once and never changed: no role updates them.
FIXED = {
    *("id", "tenant_id", "user_id", "currency", "created_at", "external_id", "body", "headers", "body_sha256"),
    *("idempotency_key", "idempotency_scope", "request_sha256", "secret_sha256", "public_part", "rows_sha256"),
    "token_sha256",
}


def refuse(tenant: Shop, role: Role, statement: str, **values: Any) -> str:
    """Try a statement as a role bound to the tenant; return why it was refused. Fails where it is carried out."""
    with (
        pytest.raises(DBAPIError) as raised,
        tenant.runtime.database.transaction(role, tenant.tenant_id) as connection,
    ):
        connection.execute(text(statement), values)
    return str(raised.value.orig)


@pytest.fixture(scope="module")
def settled(servers: Servers) -> Iterator[Shop]:
    """Provide a tenant with a completed payment, an open one, and a case; no test changes them."""
    with servers.open_databases() as databases, databases.open_runtime() as runtime:
        shop = make_shop(runtime)
        shop.deliver(shop.body(shop.deposit()))
        shop.deliver(shop.body(shop.deposit(), amount="1.00"))
        settle.settle_due(runtime)
        shop.deposit()
        yield shop


def test_no_role_may_update_a_whole_table(databases: Databases) -> None:
    rows = databases.rows(
        "select c.relname || ' by ' || a.grantee::regrole as who from pg_class c"
        " cross join lateral aclexplode(c.relacl) as a"
        " where c.relnamespace = 'public'::regnamespace and a.privilege_type in ('UPDATE', 'TRUNCATE', 'REFERENCES',"
        " 'TRIGGER', 'MAINTAIN') and a.grantee <> c.relowner"
    )
    assert rows == []


def test_no_role_may_update_what_is_fixed(databases: Databases) -> None:
    rows = databases.rows(
        "select t.attrelid::regclass || '.' || t.attname as name, t.attname as attname from pg_attribute t"
        " cross join lateral aclexplode(t.attacl) as a where a.privilege_type = 'UPDATE'"
    )
    assert len(rows) > 50
    assert [row["name"] for row in rows if row["attname"] in FIXED] == []


@pytest.mark.parametrize(
    "statement",
    [
        "update payment_transactions set status = 'completed', completed_at = now() where status = 'pending'",
        "update payment_transactions set status = 'failed' where status = 'pending'",
        "update payment_transactions set amount_minor = 1",
        "update wallet_temp_logs set state = 'applied'",
        "update wallet_temp_logs set amount_minor = 1",
        "update dead_letters set state = 'accepted'",
        "update dead_letters set amount_minor = 90000000",
        "update wallets set balance_minor = 1",
        "insert into wallet_transactions select * from wallet_transactions",
        "insert into dead_letters (id, tenant_id, kind, reason, detail) select gen_random_uuid(), tenant_id, kind,"
        " reason, detail from dead_letters",
        "insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor, state)"
        " select payment_id, tenant_id, user_id, currency, amount_minor, 'applied' from wallet_temp_logs",
        "insert into payment_transactions (id, tenant_id, user_id, amount_minor, currency, status, completed_at,"
        " provider_id, idempotency_scope, idempotency_key, request_sha256, expires_at) select gen_random_uuid(),"
        " tenant_id, user_id, amount_minor, currency, 'completed', now(), provider_id, '', 'x', request_sha256,"
        " expires_at from payment_transactions limit 1",
    ],
)
def test_web_moves_no_money_of_its_own_tenant_either(settled: Shop, statement: str) -> None:
    why = refuse(settled, "web", statement)
    assert "permission denied" in why or "violates row-level security" in why


AUDIT = (
    "insert into audit_logs (tenant_id, actor, kind, payment_id, payment_version, detail)"
    " select tenant_id, :actor, :kind, id, version, cast(:detail as jsonb) from payment_transactions limit 1"
)


@pytest.mark.parametrize(
    ("actor", "kind", "detail"),
    [
        ("operator:alice", "payment_created", "{}"),
        ("system", "payment_created", "{}"),
        ("provider:x", "decision", '{"given": "succeeded"}'),
        ("user:ann", "decision", '{"given": "succeeded"}'),
        ("user:ann", "decision", '{"given": "accept"}'),
        ("user:ann", "decision", '{"given": "cancel", "transfer": {}}'),
        ("user:ann", "decision", "{}"),
        *(("key:x", kind, "{}") for kind in ("dead_letter_accepted", "tenant_policy_changed", "partition_dropped")),
    ],
)
def test_web_audits_only_what_it_does(settled: Shop, actor: str, kind: str, detail: str) -> None:
    why = refuse(settled, "web", AUDIT, actor=actor, kind=kind, detail=detail)
    assert "violates row-level security policy" in why


def test_web_dates_no_audit_row_and_writes_none_without_a_payment(settled: Shop) -> None:
    insert = "insert into audit_logs (tenant_id, actor, kind, detail{}) select id, 'key:x', 'payment_created', '{{}}'{}"
    dated = insert.format(", at", ", now()") + " from tenants"
    assert "permission denied" in refuse(settled, "web", dated)
    assert "violates row-level security policy" in refuse(settled, "web", insert.format("", "") + " from tenants")


def test_the_clerk_ends_pauses_of_its_tenants_providers_and_makes_none(settled: Shop) -> None:
    add = "insert into provider_breakers (provider_id, tenant_id, failures, opens, paused_until, error)"
    add += " values (:id, :tenant_id, 5, 1, now() + interval '9 seconds', 'away')"
    end = "update provider_breakers set paused_until = now() where provider_id = :id"
    longer = "update provider_breakers set paused_until = now() + interval '1 hour'"
    with settled.runtime.database.transaction("worker") as connection:
        connection.execute(text(add), {"id": settled.provider_id, "tenant_id": settled.tenant_id})
    assert "violates row-level security policy" in refuse(settled, "clerk", longer)
    assert "permission denied" in refuse(settled, "clerk", "update provider_breakers set failures = 0")
    assert "permission denied" in refuse(settled, "web", end, id=settled.provider_id)
    for tenant_id, count in ((uuid.uuid4(), 0), (settled.tenant_id, 1)):
        with settled.runtime.database.transaction("clerk", tenant_id) as connection:
            assert connection.execute(text(end), {"id": settled.provider_id}).rowcount == count


def writable(databases: Databases, role: str) -> set[str]:
    """Tables in which a role may write anything."""
    rows = databases.rows(
        "select c.relname as name from pg_class c where c.relnamespace = 'public'::regnamespace"
        " and c.relkind in ('r', 'p') and (has_table_privilege(:role, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
        " or has_any_column_privilege(:role, c.oid, 'INSERT, UPDATE'))",
        role=f"sluice_{role}",
    )
    return {row["name"] for row in rows}


def test_readers_write_nothing_but_results(databases: Databases) -> None:
    assert writable(databases, "sockets") == set()
    assert writable(databases, "door") == set()
    kept = {"verification_runs", "verification_places", "verification_chains"}
    assert writable(databases, "auditor") == {*kept, "alerts"}


@pytest.mark.parametrize("role", ["web", "sockets", "door", "auditor", "clerk"])
def test_credentials_and_secrets_are_out_of_reach(databases: Databases, role: str) -> None:
    rows = databases.rows(
        "select attrelid::regclass || '.' || attname as name from pg_attribute where attnum > 0 and not attisdropped"
        " and (attname like '%_encrypted' or attname in ('secret_sha256', 'ticket_sha256', 'token_sha256'))"
        " and attrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r')"
        " and has_column_privilege(:role, attrelid, attnum, 'SELECT')",
        role=f"sluice_{role}",
    )
    assert rows == []


def test_sockets_reads_notifications_of_its_tenant_only(settled: Shop) -> None:
    database = settled.runtime.database
    with database.transaction("sockets", settled.tenant_id) as connection:
        assert connection.execute(text("select count(*) from notifications")).scalar_one() > 0
    with database.transaction("sockets", uuid.uuid4()) as connection:
        for table in ("notifications", "notification_numbers"):
            assert connection.execute(text(f"select count(*) from {table}")).scalar_one() == 0
    for table in ("payment_transactions", "wallets", "audit_logs", "payment_webhooks"):
        assert "permission denied" in refuse(settled, "sockets", f"select 1 from {table}")


def test_roles_are_members_of_no_role_and_log_in_nowhere(databases: Databases) -> None:
    names = [f"sluice_{role}" for role in get_args(Role)]
    assert databases.rows("select 1 from pg_auth_members where member::regrole::text = any(:names)", names=names) == []
    assert databases.rows("select 1 from pg_roles where rolname = any(:names) and rolcanlogin", names=names) == []


def test_every_role_has_a_process_type_that_needs_it() -> None:
    assert {role for login in LOGIN_ROLES.values() for role in login.roles} == set(ALL_ROLES)
