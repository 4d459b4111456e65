"""Queries over PostgreSQL's catalogue."""

from __future__ import annotations

from testbed.servers import Databases

# In every schema that is not PostgreSQL's own.
FUNCTIONS = """
    select p.oid, p.oid::regprocedure::text as signature, p.proname as name, p.prosecdef as is_definer,
           p.prorettype = 'trigger'::regtype as is_trigger, p.pronargs as arguments,
           array_to_string(p.proconfig, '; ') as settings
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 2
"""


def function_names(databases: Databases, condition: str) -> set[str]:
    """Return the names of functions that fit a condition about `f`."""
    return {row["name"] for row in databases.rows(f"select f.name from ({FUNCTIONS}) as f where {condition}")}
