"""What `sluice migrate` takes from PUBLIC besides what revisions do: rights on the database and its schema."""

from __future__ import annotations

from sqlalchemy import Connection, text

# The owner alone may revoke; where another login owns the database or the schema, the doctor reports what is open.
_OPEN_TO_PUBLIC = text(
    """
    select has_database_privilege('public', d.oid, 'TEMPORARY') and pg_has_role(d.datdba, 'USAGE') as temporary,
           has_schema_privilege('public', n.oid, 'CREATE') and pg_has_role(n.nspowner, 'USAGE') as creating,
           quote_ident(d.datname) as database
    from pg_database d, pg_namespace n where d.datname = current_database() and n.nspname = 'public'
    """
)


def close_database(connection: Connection) -> None:
    """Revoke from PUBLIC what lets a session place objects in front of Sluice's own; do nothing where it is revoked."""
    found = connection.execute(_OPEN_TO_PUBLIC).one()
    if found.temporary:
        connection.execute(text(f"revoke temporary on database {found.database} from public"))
    if found.creating:
        connection.execute(text("revoke create on schema public from public"))
