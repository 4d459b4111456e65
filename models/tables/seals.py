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
    """An audit row that is in no seal yet; a trigger writes it with the audit row, the sealer deletes it."""

    __tablename__ = "audit_work"
    __table_args__ = ({"comment": "Audit rows that no seal covers yet; written by a trigger, deleted by the sealer."},)

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    audit_id: Mapped[Number] = mapped_column(
        primary_key=True,
        autoincrement=False,
        comment="With audit_at the whole key of the audit row, so that one partition is searched.",
    )
    audit_at: Mapped[Moment]
    due_at: Mapped[Created] = mapped_column(comment="When it was queued.")


class AuditSeal(Model):
    """Some of a tenant's audit rows, hashed over every column and chained to the seal before; append-only."""

    __tablename__ = "audit_seals"
    __table_args__ = (
        CheckConstraint("last_position - first_position + 1 = cardinality(audit_ids)", name="positions"),
        Index("ix_audit_seals_rows", "tenant_id", "last_audit_id"),
        {"comment": "Append-only hash chain over a tenant's audit rows, one seal for a run of rows."},
    )

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    number: Mapped[Number] = mapped_column(
        primary_key=True, autoincrement=False, comment="Position of the seal in the tenant's chain: 1, 2, 3, ..."
    )
    first_position: Mapped[Number] = mapped_column(
        comment="Position of its first audit row; rows are counted 1, 2, 3, ... per tenant as they are sealed."
    )
    last_position: Mapped[Number] = mapped_column(comment="Position of its last audit row.")
    audit_ids: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger), comment="Its audit rows, in the order of their positions."
    )
    first_audit_id: Mapped[Number] = mapped_column(comment="Smallest id among its audit rows.")
    last_audit_id: Mapped[Number] = mapped_column(comment="Largest id among its audit rows.")
    row_marks: Mapped[bytes] = mapped_column(
        comment="First eight bytes of the hash of each row, so that a changed row can be named."
    )
    rows_sha256: Mapped[bytes] = mapped_column(comment="Hash over every column of all its rows.")
    previous_sha256: Mapped[bytes] = mapped_column(
        comment="seal_sha256 of the seal before; 32 zero bytes in the first."
    )
    seal_sha256: Mapped[bytes] = mapped_column(comment="Hash over this seal's other columns.")
    sealed_at: Mapped[Moment]


class VerificationRun(Model):
    """One proof of the books: of one tenant or, with `tenant_id` null, of all; `broken` lists what did not hold."""

    __tablename__ = "verification_runs"
    __table_args__ = (
        CheckConstraint("mode in ('full', 'incremental')", name="mode"),
        Index("ix_verification_runs_newest", text("finished_at desc")),
        {"comment": "Proofs of the books and their results."},
    )

    id: Mapped[Id]
    mode: Mapped[str] = mapped_column(comment="full, or incremental: from verification_places on.")
    tenant_id: Mapped[uuid.UUID | None] = mapped_column(comment="Null for a proof of all tenants.")
    started_at: Mapped[Moment]
    finished_at: Mapped[Created]
    is_complete: Mapped[bool] = mapped_column(comment="False where the time allowed ended before the proof did.")
    counts: Mapped[dict[str, Any]] = mapped_column(comment="Rows proved, by kind.")
    broken: Mapped[dict[str, Any]] = mapped_column(comment="Invariants that did not hold.")


class VerificationPlace(Model):
    """How far a tenant's books are proved: the next incremental proof begins there."""

    __tablename__ = "verification_places"
    __table_args__ = ({"comment": "How far a tenant's books are proved; the next incremental proof starts there."},)

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    seal_number: Mapped[Number] = mapped_column(comment="Last seal that was proved.")
    seal_sha256: Mapped[bytes] = mapped_column(comment="Its hash when it was proved.")
    notification_number: Mapped[Number] = mapped_column(comment="Last notification number that was proved.")
    webhooks_until: Mapped[Moment] = mapped_column(comment="Webhooks settled before this time are proved.")
    verified_at: Mapped[datetime.datetime]
