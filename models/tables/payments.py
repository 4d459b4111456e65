"""Payments and the calls that are due for them."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    UniqueConstraint,
    desc,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, DueWork, Id, Minor, Model, Moment, TenantId


class PaymentTransaction(Model):
    """A payment: one deposit from the asking to its end. Changed by `app.services.payments.settlement` alone."""

    __tablename__ = "payment_transactions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "idempotency_scope", "idempotency_key"),
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
        CheckConstraint("status in ('pending', 'processing', 'completed', 'failed', 'cancelled')", name="status"),
        CheckConstraint("amount_minor > 0 and amount_minor <= 1000000000000000", name="amount_minor"),
        CheckConstraint("(status = 'completed') = (completed_at is not null)", name="completed_at"),
        # The bounds of app.core.validation.provider_values, in whatever way a value came.
        CheckConstraint("char_length(provider_reference) <= 512", name="provider_reference"),
        CheckConstraint(
            "char_length(redirect_url) <= 2048 and redirect_url ~ '^[Hh][Tt][Tt][Pp][Ss]?://'", name="redirect_url"
        ),
        Index("ix_payments_newest", "tenant_id", desc("created_at"), desc("id")),
        Index("ix_payments_user_newest", "tenant_id", "user_id", desc("created_at"), desc("id")),
        Index("ix_payments_reference", "provider_id", "provider_reference"),
        {"postgresql_with": {"fillfactor": "50"}, "comment": "Payments: one deposit from its request to its end."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId] = mapped_column(ForeignKey("tenants.id"))
    version: Mapped[int] = mapped_column(
        server_default=text("1"), comment="Counts changes; notifications and audit rows name it."
    )
    user_id: Mapped[str]
    amount_minor: Mapped[Minor] = mapped_column(comment="Amount asked, in minor units.")
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    exceptions: Mapped[list[str]] = mapped_column(
        server_default=text("'{}'"), comment="What did not go as asked, such as underpaid, late or conflict."
    )
    provider_id: Mapped[uuid.UUID]
    provider_reference: Mapped[str | None] = mapped_column(comment="The provider's own id of the payment.")
    redirect_url: Mapped[str | None] = mapped_column(comment="Page of the provider on which the user pays.")
    failure_reason: Mapped[str | None]
    success_url: Mapped[str | None] = mapped_column(comment="Where the user is sent after paying.")
    failure_url: Mapped[str | None] = mapped_column(comment="Where the user is sent when the payment fails.")
    metadata_: Mapped[dict[str, str]] = mapped_column(
        "metadata", server_default=text("'{}'"), comment="Values of the caller, returned unchanged."
    )
    idempotency_scope: Mapped[str] = mapped_column(
        comment="Empty for secret keys, user:<id> for client tokens; a key is unique within its scope."
    )
    idempotency_key: Mapped[str]
    request_sha256: Mapped[bytes] = mapped_column(
        comment="Hash of the request, so that a repeated key with another request is refused."
    )
    provider_request: Mapped[bytes | None] = mapped_column(
        comment="Exact bytes of the create call, kept so that every attempt sends the same."
    )
    provider_request_at: Mapped[datetime.datetime | None] = mapped_column(comment="First attempt of the create call.")
    session_closed: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="Whether the payment page at the provider is closed."
    )
    received_minor: Mapped[Minor | None] = mapped_column(
        comment="Total received under provider_reference, credited or held, in minor units."
    )
    received_currency: Mapped[str | None]
    reversed_minor: Mapped[Minor] = mapped_column(server_default=text("0"), comment="Total given back, in minor units.")
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    expires_at: Mapped[Moment] = mapped_column(comment="When the payment expires if no money has arrived.")
    completed_at: Mapped[datetime.datetime | None]
    committed_until: Mapped[datetime.datetime | None] = mapped_column(
        comment="Time by which a slow payment method settles; the payment does not expire before it."
    )


class PaymentWork(DueWork, Model):
    """The next provider call that is due for a payment; waiting (`polls`) is not failing (`attempts`)."""

    __tablename__ = "payment_work"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "payment_id"], ["payment_transactions.tenant_id", "payment_transactions.id"]
        ),
        CheckConstraint("action in ('create', 'poll', 'close')", name="action"),
        # Creates are claimed before polls, the oldest first: the index is in that order.
        Index("ix_payment_work_due", "provider_id", text("(action <> 'create')"), "due_at"),
        Index("ix_payment_work_due_at", "due_at"),
        Index("ix_payment_work_claimed", "provider_id", postgresql_where=text("claim_id is not null")),
        {"comment": "The next provider call that is due for a payment."},
    )

    payment_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    provider_id: Mapped[uuid.UUID]
    action: Mapped[str] = mapped_column(comment="create, poll or close.")
    polls: Mapped[int] = mapped_column(
        server_default=text("0"),
        comment="Polls that were answered: the step in the poll schedule, apart from attempts, which count failures.",
    )


class WaitingReversal(Model):
    """A verified reversal whose money is not credited yet; deleted once it is booked.

    The payment carries the mark `reversal_waiting` meanwhile: settling reads this table for those payments alone.
    """

    __tablename__ = "waiting_reversals"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "payment_id"], ["payment_transactions.tenant_id", "payment_transactions.id"]
        ),
        CheckConstraint("amount_minor > 0", name="amount_minor"),
        Index("ix_waiting_reversals_due", "due_at", postgresql_where=text("due_at is not null")),
        {"comment": "Verified reversals whose money is not credited yet; deleted once they are booked."},
    )

    payment_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[TenantId]
    provider_id: Mapped[uuid.UUID]
    reference: Mapped[str] = mapped_column(
        primary_key=True,
        server_default=text("''"),
        comment="The provider reference that the reversal named, empty where none.",
    )
    currency: Mapped[str] = mapped_column(primary_key=True)
    amount_minor: Mapped[Minor] = mapped_column(
        primary_key=True, autoincrement=False, comment="The total given back, in minor units."
    )
    webhook_id: Mapped[uuid.UUID | None]
    due_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When it becomes a dead letter: the end of the monitoring window. Null once a person has been told."
    )
    created_at: Mapped[Created]


class PaymentCountDelta(Model):
    """What one statement did to the number of payments by status; a trigger writes it, the sweep folds it."""

    __tablename__ = "payment_count_deltas"
    __table_args__ = (
        {"comment": "Changes of the number of payments by status; written by a trigger, folded by the sweep."},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    status: Mapped[str]
    delta: Mapped[int] = mapped_column(comment="How many payments one statement added to the status, or took from it.")


class PaymentCount(Model):
    """Payments by status, folded from the deltas, so that no metric ever counts history."""

    __tablename__ = "payment_counts"
    __table_args__ = ({"comment": "Number of payments by status, folded from payment_count_deltas, for metrics."},)

    status: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[Minor]
