"""Revokes PUBLIC's rights on the database and its schema, which no revision can name."""

from __future__ import annotations

from sqlalchemy import Connection, text

# The owner alone may revoke; where another login owns the database or the schema, the doctor reports open rights.
_OPEN_TO_PUBLIC = text(
    """
    select has_database_privilege('public', d.oid, 'TEMPORARY') and pg_has_role(d.datdba, 'USAGE') as temporary,
           has_schema_privilege('public', n.oid, 'CREATE') and pg_has_role(n.nspowner, 'USAGE') as creating,
           quote_ident(d.datname) as database
    from pg_database d, pg_namespace n where d.datname = current_database() and n.nspname = 'public'
    """
)


def close_database(connection: Connection) -> None:
    """Revoke from PUBLIC the rights by which a session could shadow Sluice's objects, unless that is done already."""
    found = connection.execute(_OPEN_TO_PUBLIC).one()
    if found.temporary:
        connection.execute(text(f"revoke temporary on database {found.database} from public"))
    if found.creating:
        connection.execute(text("revoke create on schema public from public"))
