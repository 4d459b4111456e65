"""Who may execute which function, and that none of them can be made to run another's code with its owner's rights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, get_args

import psycopg2
import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.doctor import examine
from app.local.embedded import APP_ROLE, OWNER_ROLE, SUPERUSER
from app.services.webhooks import settle
from models import Database
from models.database import Role
from models.migrations import configuration, upgrade
from testbed.servers import Databases, Servers
from testbed.shop import Shop, make_shop
from tests.integration.models.catalogue import FUNCTIONS, function_names

# What each role may execute. A new function without an entry is open to nobody but its owner.
MAY_EXECUTE: dict[str, set[str]] = {
    "web": {"first_id"},
    "door": {
        *("door_find_key", "door_find_token", "door_take_ticket", "door_dead_tokens", "door_origin_is_known"),
        *("door_find_poked", "door_store_poke"),
        *("door_find_provider", "door_store_webhooks", "door_refuse_webhook", "door_find_ended", "door_note_key_uses"),
        *("watch_work", "watch_deliveries", "watch_counts", "watch_books", "watch_providers"),
        *("report_provider", "report_keys"),
    },
    "worker": {
        *("first_id", "fold_payment_counts", "watch_work", "keep_partitions", "analyze_partitioned"),
        *("watch_providers", "report_provider", "report_keys", "new_ordered_id", "watch_deliveries"),
    },
    "deliver": {"report_keys"},
    "operator": {
        *("first_id", "watch_work", "watch_deliveries", "watch_counts", "watch_books", "watch_providers"),
        "count_default_rows",
    },
    "clerk": {"first_id", "new_ordered_id"},
    "sockets": {
        *("door_find_key", "door_find_token", "door_take_ticket", "door_dead_tokens", "door_origin_is_known"),
        *("door_find_ended", "door_note_key_uses"),
    },
    "auditor": {"first_id"},
}


@pytest.mark.parametrize("role", get_args(Role))
def test_each_role_executes_what_it_needs_and_nothing_else(databases: Databases, role: str) -> None:
    assert function_names(databases, f"has_function_privilege('sluice_{role}', f.oid, 'EXECUTE')") == MAY_EXECUTE[role]


def test_a_function_that_is_still_to_be_made_is_open_to_nobody(databases: Databases) -> None:
    owner = Database(databases.owner_database_url, 1)
    with owner.engine.begin() as connection:
        connection.execute(text("create schema later"))
        for schema in ("public", "later"):
            connection.execute(text(f"create function {schema}.made_later() returns int language sql as 'select 1'"))
            connection.execute(text(f"create procedure {schema}.done_later() language sql as 'select 1'"))
    owner.engine.dispose()
    assert function_names(databases, "f.name ~ '_later$'") == {"made_later", "done_later"}
    for grantee in ("public", "sluice_app", *(f"sluice_{role}" for role in get_args(Role))):
        allowed = function_names(
            databases, f"f.name ~ '_later$' and has_function_privilege('{grantee}', f.oid, 'EXECUTE')"
        )
        assert allowed == set(), grantee


def test_nothing_else_of_the_schema_is_open_to_public(databases: Databases) -> None:
    relations = databases.rows(
        "select c.relname as name, a.privilege_type from pg_class c"
        " cross join lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) as a"
        " where c.relnamespace = 'public'::regnamespace and a.grantee = 0"
    )
    assert relations == []
    columns = databases.rows(
        "select attrelid::regclass::text as name from pg_attribute cross join lateral aclexplode(attacl) as a"
        " where a.grantee = 0 and attrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)"
    )
    assert columns == []
    defaults = databases.rows(
        "select defaclobjtype from pg_default_acl cross join aclexplode(defaclacl) where grantee = 0"
    )
    assert defaults == []
    for privilege in ("CREATE", "TEMPORARY"):
        assert databases.value(f"select has_database_privilege('public', current_database(), '{privilege}')") is False
    assert databases.value("select has_schema_privilege('public', 'public', 'CREATE')") is False
    # Views run with their owner's rights, and operators name functions: the schema has neither.
    assert (
        databases.rows(
            "select relname from pg_class where relkind in ('v', 'm') and relnamespace = 'public'::regnamespace"
            " and not coalesce('security_invoker=true' = any(reloptions), false)"
        )
        == []
    )
    assert databases.value("select count(*) from pg_operator where oprnamespace = 'public'::regnamespace") == 0


def test_web_of_one_tenant_stores_no_webhook_for_another(databases: Databases, tenant: Shop) -> None:
    victim = make_shop(tenant.runtime)
    payment = victim.deposit()
    body = victim.body(payment)
    store = text(
        "select * from door_store_webhooks(array[gen_random_uuid()], array[cast(:tenant as uuid)],"
        " array[cast(:provider as uuid)], array['forged'], array['success'], array[cast(:body as bytea)],"
        " array['{}'::jsonb], array[sha256(cast(:body as bytea))], array['127.0.0.1'], array[cast(:payment as uuid)],"
        " array[null])"
    )
    values = {"tenant": victim.tenant_id, "provider": victim.provider_id, "body": body, "payment": payment.id}
    with (
        pytest.raises(DBAPIError, match="permission denied for function door_store_webhooks"),
        tenant.runtime.database.transaction("web", tenant.tenant_id) as connection,
    ):
        connection.execute(store, values)
    settle.settle_due(tenant.runtime)
    assert databases.value("select count(*) from payment_webhooks") == 0
    assert databases.value("select count(*) from wallet_transactions") == 0


@contextlib.contextmanager
def shadows(databases: Databases) -> Iterator[Any]:
    """Provide a session whose temporary schema holds, under the name of each type and table, an object that raises."""
    connection = psycopg2.connect(databases.superuser_url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("create temp table marker (id pg_catalog.int4)")
        cursor.execute(
            "create function pg_temp.shadow() returns pg_catalog.bool language plpgsql as"
            " $$ begin raise exception 'shadowed, as %', current_user; end $$;"
            "create function pg_temp.shadow_row() returns trigger language plpgsql as"
            " $$ begin raise exception 'shadowed, as %', current_user; end $$"
        )
        cursor.execute(
            "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(
                f"create temp table {table} (like public.{table});"
                f"create trigger shadow before insert or update or delete on pg_temp.{table}"
                " for each statement execute function pg_temp.shadow_row()"
            )
        cursor.execute(
            "select t.typname from pg_type t where t.typnamespace = 'pg_catalog'::regnamespace and t.typtype = 'b'"
            " and t.typname !~ '^_|^pg_' and t.typname not in ('bool')"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'create domain pg_temp."{name}" as pg_catalog."{name}" check (pg_temp.shadow())')
        yield cursor


def attempt(cursor: Any, statement: str) -> str:
    """Run a statement; return the error's first line, or an empty text."""
    try:
        cursor.execute(statement)
    except psycopg2.Error as error:
        return str(error).splitlines()[0]
    return ""


def test_temporary_objects_stand_in_for_nothing_while_a_function_runs_as_its_owner(
    databases: Databases, tenant: Shop
) -> None:
    """Where PUBLIC may make temporary objects, as in a database that somebody else made."""
    tenant.deliver(tenant.body(tenant.deposit()))
    settle.settle_due(tenant.runtime)
    databases.rows(f"grant temporary on database {databases.name} to public")
    callable_ones = databases.rows(f"select f.* from ({FUNCTIONS}) as f where f.is_definer and not f.is_trigger")
    with shadows(databases) as cursor:
        assert "shadowed" in attempt(cursor, "select null::timestamptz"), "the session itself meets the shadows"
        for function in callable_ones:
            nulls = ", ".join(["null"] * function["arguments"])
            failed = attempt(cursor, f"select * from public.{function['name']}({nulls})")
            assert "shadowed" not in failed, (function["signature"], failed)
        # Triggers that run as their owner; what they are about is written as it is.
        for statement in (
            "update public.payment_transactions set status = 'processing', completed_at = null",
            "insert into public.audit_logs (tenant_id, actor, kind, detail) select tenant_id, 'a', 'b', detail"
            " from public.audit_logs limit 1",
            "insert into public.wallet_transactions (id, tenant_id, transfer_id, transfer_key, payment_id, wallet_id,"
            " wallet_version, currency, direction, amount_minor, balance_before_minor, balance_after_minor, type,"
            " description) select gen_random_uuid(), tenant_id, transfer_id, 'other', payment_id, wallet_id,"
            " wallet_version + 1, currency, direction, amount_minor, balance_before_minor, balance_after_minor, type,"
            " '' from public.wallet_transactions limit 1",
        ):
            assert attempt(cursor, statement) == "", statement
    assert len(callable_ones) >= 13


def test_migrating_closes_a_database_that_is_open_to_public_and_the_doctor_names_it(
    databases: Databases, tenant: Shop
) -> None:
    def found(check: str) -> tuple[str, str]:
        return next((f.level, f.detail) for _, f in examine(tenant.runtime, ["PostgreSQL"]) if f.check == check)

    assert found("Rights of PUBLIC")[0] == found("Functions")[0] == "ok"
    databases.rows(f"grant temporary on database {databases.name} to public")
    databases.rows("grant create on schema public to public")
    level, detail = found("Rights of PUBLIC")
    assert level == "fail"
    assert "revoke temporary on database" in detail
    assert "revoke create on schema public" in detail
    upgrade(databases.owner_database_url, databases.database_url)
    assert found("Rights of PUBLIC")[0] == "ok"
    databases.rows("grant execute on function door_store_webhooks to public")
    assert found("Functions")[0] == "fail"
    assert "door_store_webhooks" in found("Functions")[1]
    databases.rows("revoke execute on function door_store_webhooks from public")
    databases.rows("alter function watch_work set search_path = pg_catalog, public")
    assert found("Functions")[0] == "fail"
    assert "watch_work" in found("Functions")[1]


def test_a_database_of_an_earlier_revision_is_closed_in_place(servers: Servers) -> None:
    servers.administer(f"create database earlier owner {OWNER_ROLE}")
    url = servers.postgres.url
    databases = Databases("earlier", url(APP_ROLE, "earlier"), "", url(SUPERUSER, "earlier"), "", "", servers.folder)
    try:
        command.upgrade(configuration(url(OWNER_ROLE, "earlier")), "0005")
        assert len(function_names(databases, "has_function_privilege('public', f.oid, 'EXECUTE')")) >= 14
        assert "wallets" in tables_updated_by(databases, "sluice_worker")
        upgrade(url(OWNER_ROLE, "earlier"), databases.database_url)
        assert function_names(databases, "has_function_privilege('public', f.oid, 'EXECUTE')") == set()
        for role in get_args(Role):
            allowed = function_names(databases, f"has_function_privilege('sluice_{role}', f.oid, 'EXECUTE')")
            assert allowed == MAY_EXECUTE[role]
            assert tables_updated_by(databases, f"sluice_{role}") == set()
        assert databases.value("select has_database_privilege('public', 'earlier', 'TEMPORARY')") is False
    finally:
        servers.administer("drop database earlier with (force)")


def tables_updated_by(databases: Databases, role: str) -> set[str]:
    """Tables of which a role may update every column."""
    rows = databases.rows(
        "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and has_table_privilege(:role, oid, 'UPDATE')",
        role=role,
    )
    return {row["name"] for row in rows}
