"""Check that PUBLIC has no rights in Sluice's database: migrations have revoked them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from app.doctor.finding import Finding, expect, fail, ok

# Functions of extensions are excluded.
_OPEN_FUNCTIONS = text(
    """
    select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'public' and has_function_privilege('public', p.oid, 'EXECUTE')
      and not exists (select from pg_depend d where d.objid = p.oid and d.classid = 'pg_proc'::regclass
                      and d.deptype = 'e')
    order by 1
    """
)
_SHADOWED_FUNCTIONS = text(
    """
    select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'public' and p.prosecdef
      and not exists (select from unnest(p.proconfig) as c(setting) where c.setting ~ '^search_path=.*\\mpg_temp"?$')
    order by 1
    """
)
_OPEN_DATABASE = text(
    """
    select quote_ident(current_database()) as database,
           has_database_privilege('public', current_database(), 'TEMPORARY') as temporary,
           has_schema_privilege('public', 'public', 'CREATE') as creating
    """
)


def examine_privileges(connection: Connection) -> Iterator[Finding]:
    """Yield rights of PUBLIC that must be revoked."""
    is_open = list(connection.execute(_OPEN_FUNCTIONS).scalars())
    shadowed = list(connection.execute(_SHADOWED_FUNCTIONS).scalars())
    if is_open:
        yield fail("Functions", f"PUBLIC may execute {', '.join(is_open)}: revoke execute from public")
    elif shadowed:
        yield fail("Functions", f"run as their owner without pg_temp last in search_path: {', '.join(shadowed)}")
    else:
        yield ok("Functions", "each may be executed only by the roles that need it")
    yield _examine_database(connection)


def _examine_database(connection: Connection) -> Finding:
    found = connection.execute(_OPEN_DATABASE).one()
    statements = {
        f"revoke temporary on database {found.database} from public": found.temporary,
        "revoke create on schema public from public": found.creating,
    }
    wanted = [statement for statement, is_open in statements.items() if is_open]
    return expect(
        "Rights of PUBLIC",
        not wanted,
        "no login may create objects, not even temporary ones",
        f"every login may create objects here: run `sluice migrate`, or as the database's owner: {'; '.join(wanted)}",
    )
