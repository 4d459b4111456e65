"""Creates the logins that database URLs name, and makes each a member of the roles of its process types alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, text

from models.database_urls import parse_url
from models.logins import ALL_ROLES, LOGIN_ROLES

INHERIT_OPTION_MAJOR = 16  # Since this version each membership says for itself whether it is inherited.

_MEMBERSHIPS = text(
    "select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid"
    " join pg_roles l on l.oid = m.member where l.rolname = :login and r.rolname = any(:roles)"
)
_CONNECT = text(
    "select not has_database_privilege(cast(:login as name), d.oid, 'CONNECT') and pg_has_role(d.datdba, 'USAGE')"
    " as is_missing, quote_ident(d.datname) as database from pg_database d where d.datname = current_database()"
)


@dataclass
class Login:
    """A login that URLs name, its password there, and the roles of all process types that it serves."""

    name: str
    password: str | None
    roles: set[str] = field(default_factory=set)


def list_logins(default_url: str | None, login_urls: Mapping[str, str]) -> list[Login]:
    """Return the logins to be granted roles; `login_urls` is by process type, the default serves every type."""
    logins: dict[str, Login] = {}
    wanted: list[tuple[str, tuple[Any, ...]]] = [(url, LOGIN_ROLES[name].roles) for name, url in login_urls.items()]
    if default_url:
        wanted.append((default_url, ALL_ROLES))
    for url, roles in wanted:
        parsed = parse_url(url)
        if parsed.username:
            login = logins.setdefault(parsed.username, Login(parsed.username, parsed.password))
            login.roles |= {f"sluice_{role}" for role in roles}
    return list(logins.values())


def grant_roles(connection: Connection, logins: list[Login]) -> None:
    """Create the logins that are missing and make each a member of its roles alone; do nothing where all is so.

    Raise sqlalchemy.exc.DBAPIError where the connection's own login may not.
    """
    owner = connection.execute(text("select current_user")).scalar_one()
    known = set(connection.execute(text("select rolname from pg_roles")).scalars())
    for login in logins:
        if login.name not in known:
            _create(connection, login)
        if login.name != owner:
            _grant(connection, login)


def _create(connection: Connection, login: Login) -> None:
    statement = f"create role {_quote(connection, login.name)} login noinherit"
    if login.password:
        # Hashed here, so that the server's log never has the password itself.
        driver: Any = connection.connection.driver_connection
        hashed = encrypt_password(login.password, login.name, driver, "scram-sha-256")
        statement += " password '" + hashed.replace("'", "''") + "'"
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _grant(connection: Connection, login: Login) -> None:
    name = _quote(connection, login.name)
    ours = [f"sluice_{role}" for role in ALL_ROLES]
    present = set(connection.execute(_MEMBERSHIPS, {"login": login.name, "roles": ours}).scalars())
    version = int(connection.execute(text("show server_version_num")).scalar_one())
    option = " with inherit false" if version >= INHERIT_OPTION_MAJOR * 10_000 else ""
    for role in sorted(login.roles - present):
        connection.execute(text(f"grant {role} to {name}{option}"))
    for role in sorted(present - login.roles):
        connection.execute(text(f"revoke {role} from {name}"))
    place = connection.execute(_CONNECT, {"login": login.name}).one()
    if place.is_missing:
        connection.execute(text(f"grant connect on database {place.database} to {name}"))


def _quote(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
