"""The audit's chain of seals, and what the proofs of the books have found."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, Id, Model, Moment, Number, TenantId


class AuditWork(Model):
    """An audit row that is in no seal yet; a trigger writes it with the audit row, the sealer takes it away.

    `audit_id` and `audit_at` are the row's whole key, so that it is looked for in one partition only.
    """

    __tablename__ = "audit_work"

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    audit_id: Mapped[Number] = mapped_column(primary_key=True, autoincrement=False)
    audit_at: Mapped[Moment]
    due_at: Mapped[Created]


class AuditSeal(Model):
    """Some of a tenant's audit rows, hashed over every column and chained to the seal before; append-only.

    Positions count the tenant's audit rows in the order of their sealing: 1, 2, 3, ... `row_marks` holds the first
    eight bytes of each row's hash, so that a changed row can be named.
    """

    __tablename__ = "audit_seals"
    __table_args__ = (
        CheckConstraint("last_position - first_position + 1 = cardinality(audit_ids)", name="positions"),
        Index("ix_audit_seals_rows", "tenant_id", "last_audit_id"),
    )

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    number: Mapped[Number] = mapped_column(primary_key=True, autoincrement=False)
    first_position: Mapped[Number]
    last_position: Mapped[Number]
    audit_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    first_audit_id: Mapped[Number]
    last_audit_id: Mapped[Number]
    row_marks: Mapped[bytes]
    rows_sha256: Mapped[bytes]
    previous_sha256: Mapped[bytes]
    seal_sha256: Mapped[bytes]
    sealed_at: Mapped[Moment]


class VerificationRun(Model):
    """One proof of the books: of one tenant or, with `tenant_id` null, of all; `broken` lists what did not hold."""

    __tablename__ = "verification_runs"
    __table_args__ = (
        CheckConstraint("mode in ('full', 'incremental')", name="mode"),
        Index("ix_verification_runs_newest", text("finished_at desc")),
    )

    id: Mapped[Id]
    mode: Mapped[str]
    tenant_id: Mapped[uuid.UUID | None]
    started_at: Mapped[Moment]
    finished_at: Mapped[Created]
    # False where the time allowed was up before the end was reached.
    is_complete: Mapped[bool]
    counts: Mapped[dict[str, Any]]
    broken: Mapped[dict[str, Any]]


class VerificationPlace(Model):
    """How far a tenant's books are proved: the next incremental proof begins there."""

    __tablename__ = "verification_places"

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    seal_number: Mapped[Number]
    seal_sha256: Mapped[bytes]
    notification_number: Mapped[Number]
    webhooks_until: Mapped[Moment]
    verified_at: Mapped[datetime.datetime]
