"""The schema itself: the models describe it, the roles are weak, the books and the audit only grow."""

from __future__ import annotations

import uuid
from typing import get_args

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from app.services.webhooks import settle
from models import METADATA, Database
from models.database import Role
from models.database_urls import psycopg2_url
from models.migrations import newest_revision, upgrade
from models.partitions import is_described
from testbed.servers import Databases
from testbed.shop import Shop
from tests.integration.models.catalogue import FUNCTIONS, function_names

ROLES: tuple[Role, ...] = get_args(Role)
APPEND_ONLY = ("wallet_transactions", "audit_logs")


def test_the_models_describe_the_migrated_schema(databases: Databases) -> None:
    engine = create_engine(psycopg2_url(databases.owner_database_url))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": is_described}
        context = MigrationContext.configure(connection, opts=options)
        assert context.get_current_revision() == newest_revision()
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_every_table_has_a_comment(databases: Databases) -> None:
    tables = databases.rows(
        "select relname as name, obj_description(oid, 'pg_class') as comment from pg_class"
        " where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and not relispartition"
    )
    assert {row["name"] for row in tables} >= set(METADATA.tables)
    assert [row["name"] for row in tables if not row["comment"]] == []


def test_migrating_again_does_nothing(databases: Databases) -> None:
    before = databases.rows("select relname, relfilenode from pg_class order by oid")
    upgrade(databases.owner_database_url, databases.database_url)
    assert databases.rows("select relname, relfilenode from pg_class order by oid") == before


def test_every_table_with_tenants_is_guarded(databases: Databases) -> None:
    tables = databases.rows(
        "select c.oid::regclass::text as name, relrowsecurity and relforcerowsecurity as guarded,"
        " exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id') as has_tenant"
        " from pg_class c where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
    )
    guarded = {row["name"] for row in tables if row["guarded"]}
    assert guarded >= {row["name"] for row in tables if row["has_tenant"]} | {"tenants"}
    assert len(guarded) > 15
    # Tables without row-level security hold no data of a tenant.
    assert {row["name"] for row in tables} - guarded <= {
        *("alembic_version", "heartbeats", "payment_counts", "payment_count_deltas"),
        *(row["name"] for row in tables if not row["has_tenant"]),
    }


def test_no_role_of_the_application_is_strong(databases: Databases) -> None:
    roles = databases.rows(
        "select rolname, rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication as is_strong,"
        " rolinherit from pg_roles where rolname = 'sluice_app' or rolname = any(:names)",
        names=[f"sluice_{role}" for role in ROLES],
    )
    assert len(roles) == 1 + len(ROLES)
    assert not any(row["is_strong"] for row in roles)
    assert [row["rolinherit"] for row in roles if row["rolname"] == "sluice_app"] == [False]
    owners = databases.rows(
        "select distinct pg_get_userbyid(relowner) as name from pg_class where relnamespace = 'public'::regnamespace"
    )
    assert owners == [{"name": "sluice_owner"}]
    memberships = databases.rows(
        "select pg_get_userbyid(roleid) as name from pg_auth_members where member = 'sluice_app'::regrole"
    )
    assert {row["name"] for row in memberships} == {f"sluice_{role}" for role in ROLES}


def test_the_login_without_a_role_may_do_nothing(databases: Databases, tenant: Shop) -> None:
    database = Database(databases.database_url, 1)
    for table in ("tenants", "payment_transactions", "wallets", "api_keys"):
        with pytest.raises(DBAPIError, match="permission denied"), database.engine.begin() as connection:
            connection.execute(text(f"select * from {table}"))
    database.engine.dispose()


def attempt(databases: Databases, role: str, statement: str, tenant_id: uuid.UUID | None = None) -> str:
    """Try a statement as a role; return the error's first line, or an empty text where it was carried out."""
    strong = {"owner": databases.owner_database_url, "super": databases.superuser_url}
    database = Database(strong.get(role, databases.database_url), 1)
    try:
        if role in strong:
            with database.engine.begin() as connection:
                connection.execute(text(statement))
        else:
            with database.transaction(role, tenant_id) as connection:  # type: ignore[arg-type]
                connection.execute(text(statement))
    except DBAPIError as error:
        return str(error.orig).splitlines()[0]
    finally:
        database.engine.dispose()
    return ""


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_books_and_audit_are_append_only_for_everyone(databases: Databases, tenant: Shop, table: str) -> None:
    payment = tenant.deposit()
    tenant.deliver(tenant.body(payment))
    settle.settle_due(tenant.runtime)
    before = databases.rows(f"select * from {table} order by id")
    assert before
    deeds = (f"update {table} set at = now()", f"delete from {table}", f"truncate {table}", f"truncate {table} cascade")
    for role in (*ROLES, "owner", "super"):
        for statement in deeds:
            refused = attempt(databases, role, statement, tenant.tenant_id)
            # Roles have no right to; who has every right meets the trigger.
            expected = "append-only" if role in ("owner", "super") else "permission denied"
            assert expected in refused, (role, statement)
    assert databases.rows(f"select * from {table} order by id") == before


def test_the_database_itself_refuses_broken_books(databases: Databases, tenant: Shop) -> None:
    payment = tenant.deposit()
    tenant.deliver(tenant.body(payment))
    settle.settle_due(tenant.runtime)
    copied = (
        "insert into wallet_transactions (id, tenant_id, transfer_id, transfer_key, payment_id, wallet_id,"
        " wallet_version, currency, direction, amount_minor, balance_before_minor, balance_after_minor, type,"
        " description) select gen_random_uuid(), {tenant}, transfer_id, {key}, {payment}, {wallet}, {version},"
        " {currency}, direction, {amount}, balance_before_minor, balance_after_minor, type, ''"
        " from wallet_transactions limit 1"
    )
    honest = {
        **{name: f"{name}_id" for name in ("tenant", "payment", "wallet")},
        "key": "'other'",
        "version": "wallet_version + 1",
        "currency": "currency",
        "amount": "amount_minor",
    }
    assert attempt(databases, "super", copied.format(**honest)) == ""
    honest |= {"key": "'third'", "version": "wallet_version + 100"}
    for change, why in (
        ({"key": "transfer_key"}, "duplicate key"),
        ({"version": "wallet_version"}, "duplicate key"),
        ({"currency": "'EUR'"}, "no wallet or no payment of its tenant"),
        ({"wallet": "gen_random_uuid()"}, "no wallet or no payment of its tenant"),
        ({"payment": "gen_random_uuid()"}, "no wallet or no payment of its tenant"),
        ({"tenant": "gen_random_uuid()"}, "no wallet or no payment of its tenant"),
        ({"amount": "amount_minor + 1"}, "check constraint"),
        ({"amount": "0"}, "check constraint"),
        ({"amount": "-amount_minor"}, "check constraint"),
    ):
        assert why in attempt(databases, "super", copied.format(**honest | change)), change
    refused = "update payment_transactions set status = 'paid'"
    assert "check constraint" in attempt(databases, "super", refused)
    assert "check constraint" in attempt(databases, "super", "update payment_transactions set completed_at = null")


@pytest.mark.parametrize("table", ["wallets", "payment_transactions"])
def test_what_entries_hang_on_stays(databases: Databases, tenant: Shop, table: str) -> None:
    payment = tenant.deposit()
    tenant.deliver(tenant.body(payment))
    settle.settle_due(tenant.runtime)
    before = databases.rows(f"select * from {table} order by id")
    assert before
    deeds = (
        f"delete from {table}",
        f"truncate {table} cascade",
        f"update {table} set id = gen_random_uuid()",
        f"update {table} set tenant_id = gen_random_uuid()",
        *(["update wallets set currency = 'EUR'"] if table == "wallets" else []),
    )
    for role in (*ROLES, "owner", "super"):
        for statement in deeds:
            refused = attempt(databases, role, statement, tenant.tenant_id)
            # Some roles may update other columns, so that it is the trigger that they meet, or a foreign key before it.
            is_without_right = role in ROLES and "permission denied" in refused
            is_refused = "keeps its rows" in refused or "violates foreign key" in refused
            assert is_without_right or is_refused, (role, statement, refused)
    assert databases.rows(f"select * from {table} order by id") == before


def test_public_may_execute_no_function(databases: Databases) -> None:
    assert function_names(databases, "has_function_privilege('public', f.oid, 'EXECUTE')") == set()
    assert len(function_names(databases, "true")) >= 20


def test_functions_of_the_owner_resolve_names_in_the_temporary_schema_last(databases: Databases) -> None:
    definers = databases.rows(f"select f.signature, f.settings from ({FUNCTIONS}) as f where f.is_definer")
    assert len(definers) >= 15
    for row in definers:
        assert "search_path=pg_catalog, public, pg_temp" in row["settings"].split("; "), row["signature"]
