"""The declarative base, the column types used everywhere, and the due-work mixin."""

from __future__ import annotations

import datetime
import uuid
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, DateTime, LargeBinary, MetaData, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

# Constraint names are spelled out so that a migration can name what it changes.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Moment = Annotated[datetime.datetime, mapped_column(DateTime(timezone=True))]
Created = Annotated[datetime.datetime, mapped_column(DateTime(timezone=True), server_default=text("now()"))]
Minor = Annotated[int, mapped_column(BigInteger)]
Number = Annotated[int, mapped_column(BigInteger)]
Id = Annotated[uuid.UUID, mapped_column(UUID(as_uuid=True), primary_key=True)]
TenantId = Annotated[uuid.UUID, mapped_column(UUID(as_uuid=True))]


class Model(DeclarativeBase):
    """Every table of Sluice hangs on this base's metadata."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        bytes: LargeBinary,
        uuid.UUID: UUID(as_uuid=True),
        datetime.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        dict[str, str]: JSONB,
        list[str]: ARRAY(Text),
    }


class DueWork:
    """Columns of a narrow work row: it exists while something is left to do."""

    due_at: Mapped[Created] = mapped_column(
        comment="When it is due: schedule, lease, retry timer and order of the queue in one."
    )
    attempts: Mapped[int] = mapped_column(server_default=text("0"), comment="Claims since the last success.")
    claim_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The claim that holds the row; a write after a lease must name it."
    )
    postponed: Mapped[int] = mapped_column(
        server_default=text("0"), comment="How often trouble of the database postponed it, which is no attempt."
    )


def new_id() -> uuid.UUID:
    """Return a new time-ordered identifier (UUID version 7, RFC 9562)."""
    return uuid7()
