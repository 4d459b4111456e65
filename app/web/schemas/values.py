"""Types of single values that bodies and answers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.services.access.callers import USER_ID

USER_ID_PATTERN = f"^{USER_ID.pattern}$"
UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

UserId = Annotated[str, Field(pattern=USER_ID_PATTERN, examples=["user_42"])]
UuidText = Annotated[str, Field(pattern=UUID_PATTERN, examples=["01890a5d-ac96-774b-bcce-b302099a8057"])]
Time = Annotated[str, Field(examples=["2026-01-31T12:00:00.000000Z"], json_schema_extra={"format": "date-time"})]
