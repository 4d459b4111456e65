"""Check that no login is privileged, and that each may act only as the roles of its process type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, text

from app.doctor.finding import Finding, fail, ok, warn
from app.runtime.settings import LOGIN_VARIABLES, Settings
from models.database_urls import parse_url
from models.logins import ALL_ROLES, LOGIN_ROLES

_LOGINS = text(
    """
    select l.rolname as name, l.rolsuper as is_superuser, l.rolbypassrls as passes_policies,
           exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                   where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relowner = l.oid) as owns_tables,
           array(select r.rolname from pg_roles r where r.rolname = any(:roles)
                 and pg_has_role(l.oid, r.oid, 'MEMBER')) as roles,
           array(select r.rolname from pg_roles r where r.rolname = any(:roles)
                 and pg_has_role(l.oid, r.oid, 'USAGE')) as inherited
    from pg_roles l where l.rolname = any(:names) or l.rolname = session_user order by l.rolname
    """
)


def examine_logins(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yield findings about this login and those of the other process types that are configured here."""
    wanted = _list_wanted(settings)
    own = connection.execute(text("select session_user")).scalar_one()
    wanted.setdefault(own, {f"sluice_{role}" for role in ALL_ROLES})
    values = {"names": list(wanted), "roles": [f"sluice_{role}" for role in ALL_ROLES]}
    found = {row.name: row for row in connection.execute(_LOGINS, values)}
    missing = sorted(set(wanted) - set(found))
    if missing:
        yield fail("Login", f"there is no {', '.join(missing)}: run `sluice migrate` with DATABASE_OWNER_URL")
    for name, row in found.items():
        yield _examine_strength(name, row)
        yield _examine_roles(name, row, wanted[name])
    yield _examine_sharing(settings)


def _list_wanted(settings: Settings) -> dict[str, set[str]]:
    """Return the roles of each configured login by its name."""
    wanted: dict[str, set[str]] = {}
    for process_type, url in settings.login_urls.items():
        roles = wanted.setdefault(parse_url(url).username or "", set())
        roles |= {f"sluice_{role}" for role in LOGIN_ROLES[process_type].roles}
    if settings.default_database_url:
        name = parse_url(settings.default_database_url).username or ""
        wanted[name] = {f"sluice_{role}" for role in ALL_ROLES}
    # A URL without a login means the system user's, which is `session_user`.
    wanted.pop("", None)
    return wanted


def _examine_strength(name: str, row: Row[Any]) -> Finding:
    rights = {
        "a superuser": row.is_superuser,
        "exempt from row-level security (BYPASSRLS)": row.passes_policies,
        "the owner of tables": row.owns_tables,
    }
    too_much = [right for right, is_so in rights.items() if is_so]
    if too_much:
        return warn(
            "Login",
            f"{name} is {' and '.join(too_much)}: set unprivileged logins for the process types, and the owner's"
            " only in DATABASE_OWNER_URL",
        )
    return ok("Login", f"{name} is neither superuser nor owner, and subject to row-level security")


def _examine_roles(name: str, row: Row[Any], wanted: set[str]) -> Finding:
    present, inherited = set(row.roles), sorted(row.inherited)
    if lacking := sorted(wanted - present):
        return fail(
            "Roles", f"{name} is no member of {', '.join(lacking)}: run `sluice migrate` with DATABASE_OWNER_URL"
        )
    if row.is_superuser:
        return ok("Roles", f"{name} is a superuser and may act as every role")
    if inherited:
        return warn(
            "Roles",
            f"{name} inherits {', '.join(inherited)}: a transaction without SET ROLE has all their rights;"
            " make it NOINHERIT, and grant the roles WITH INHERIT FALSE where PostgreSQL is 16 or newer",
        )
    if surplus := sorted(present - wanted):
        return warn("Roles", f"{name} may act as {', '.join(surplus)}, which its process type does not need: revoke it")
    return ok("Roles", f"{name} is a member of {len(present)} roles")


def _examine_sharing(settings: Settings) -> Finding:
    shared = [name for name in LOGIN_ROLES if name not in settings.login_urls] if settings.default_database_url else []
    if shared:
        variables = ", ".join(LOGIN_VARIABLES[name] for name in shared)
        return warn(
            "Logins",
            f"{', '.join(shared)} share DATABASE_URL, whose login may act as every role: set {variables}"
            " (docs/OPERATIONS.md)",
        )
    return ok("Logins", "each configured process type has its own")
