"""The shapes of operators' requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from app.core.validation.reason import REASON_LENGTH_MAX, check_reason
from app.web.schemas.payments import Strict

Reason = Annotated[str, Field(min_length=1, max_length=REASON_LENGTH_MAX, examples=["agreed with the customer"])]


class ReasonRequest(Strict):
    """Why an operator acts; kept in the audit and in the dead letter's history."""

    reason: Reason | None = None

    @field_validator("reason")
    @classmethod
    def _check_reason(cls, reason: str | None) -> str | None:
        return reason if reason is None else check_reason(reason)
