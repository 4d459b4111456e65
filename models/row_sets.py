"""Sets of rows as one parameter: a JSON document that PostgreSQL reads as a table.

An array per column would be spelled out element by element in the statement; measured with four hundred entries of
fourteen columns, this takes a seventh of the time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson


def row_set(columns: Mapping[str, str], parameter: str = "rows") -> str:
    """Returns SQL that reads the parameter as rows with these columns and types, in order; its alias is `r`."""
    described = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(cast(:{parameter} as json)) as r({described})"


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns `rows` as the parameter's value; ids and times become text, a jsonb column takes the value itself."""
    return orjson.dumps(rows).decode("utf-8")


def uuid_array(ids: Iterable[uuid.UUID]) -> str:
    """Returns `ids` as the text of a uuid[]; to be cast where it is used."""
    return "{" + ",".join(map(str, ids)) + "}"
