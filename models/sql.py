"""Text of SQL, derived from the declared tables: Core statements compiled once, and templates filled with their parts.

Only for what `models.statements` sends. Ordinary statements are given to the connection as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, FromClause, TextClause, text
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.sql.elements import BindParameter, KeyedColumnElement
from sqlalchemy.types import TypeEngine


class _Compiler(PGCompiler):
    """Write values that the statement has as literals, so that plans know them; parameters are those without one."""

    def visit_bindparam(self, bindparam: BindParameter[Any], *args: Any, **options: Any) -> Any:
        if not bindparam.required:
            options["literal_binds"] = True
        return super().visit_bindparam(bindparam, *args, **options)  # type: ignore[no-untyped-call]

    def render_bind_cast(self, type_: TypeEngine[Any], dbapi_type: TypeEngine[Any], sqltext: str) -> str:
        """Add no cast: the server takes a parameter's type from the column that it is compared with."""
        return sqltext


class _Dialect(PGDialect):
    statement_compiler = _Compiler
    supports_statement_cache = False
    _backslash_escapes = False  # the server's standard_conforming_strings is on


_DIALECT = _Dialect(paramstyle="named")  # type: ignore[no-untyped-call]


def render(element: ClauseElement) -> str:
    """Return a Core statement or a part of one as text with `:name` parameters.

    A table or subquery is rendered as FROM has it, an expression as SELECT has it: with its label.
    """
    options: dict[str, Any] = {}
    if isinstance(element, FromClause):
        options["asfrom"] = True
    elif isinstance(element, ColumnElement):
        options["within_columns_clause"] = True
    return str(element.compile(dialect=_DIALECT, compile_kwargs=options))


def render_type(kind: TypeEngine[Any]) -> str:
    """Return the name of a column's type, such as TEXT or UUID[]."""
    return str(kind.compile(dialect=_DIALECT))


def sql(template: str, **parts: ClauseElement | Sequence[ColumnElement[Any]]) -> str:
    """Return `template` with each `{name}` replaced by the Core element of that name, or a list of columns.

    Text is no part, so that no value becomes SQL this way. Braces of SQL's own are doubled.
    """
    return template.format_map({name: _render_part(part) for name, part in parts.items()})


def _render_part(part: ClauseElement | Sequence[ColumnElement[Any]]) -> str:
    return render(part) if isinstance(part, ClauseElement) else ", ".join(map(render, part))


def columns(table: FromClause, *names: str) -> list[KeyedColumnElement[Any]]:
    """Return the columns of `table` or of an alias of it by their names; raise KeyError for one that it has not."""
    return [table.c[name] for name in names]


def seconds(parameter: str) -> TextClause:
    """Return the interval of as many seconds as the parameter says, to be added to a time."""
    return text(f"make_interval(secs => :{parameter})")
