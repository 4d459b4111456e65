"""Tables of tenants' webhook endpoints and of the deliveries to them."""

from sqlalchemy import (
    UUID,
    BigInteger,
    CheckConstraint,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    desc,
)
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.declaration import NOW, TIME, due_work, index, key, optional, required, table, within_tenant

webhook_endpoints = table(
    "webhook_endpoints",
    "URLs of tenants to which their notifications are sent.",
    key("id", UUID),
    required("tenant_id", UUID, references="tenants.id"),
    required("url", Text),
    optional("event_types", ARRAY(Text), "Types of notifications that it gets; null for all."),
    optional("description", Text),
    required("created_at", TIME, default=NOW),
    optional("disabled_at", TIME),
    optional("disabled_reason", Text, "requested by the tenant, gone (it answered 410), or failing for days."),
    optional("deleted_at", TIME, "Callers do not see it from then on; its deliveries name it."),
    UniqueConstraint("tenant_id", "id"),
    CheckConstraint(
        "(disabled_at is null) = (disabled_reason is null) and disabled_reason in ('requested', 'gone', 'failing')",
        name="disabled_reason",
    ),
    index("ix_webhook_endpoints_enabled", "tenant_id", where="disabled_at is null and deleted_at is null"),
)

endpoint_secrets = table(
    "endpoint_secrets",
    "Secrets that deliveries are signed with; several are valid during a rotation.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("endpoint_id", UUID, index=True),
    required("secret_encrypted", LargeBinary, "Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet)."),
    required("created_at", TIME, default=NOW),
    optional("ends_at", TIME, "When it stops being used; null for the current one."),
    within_tenant("endpoint_id", "webhook_endpoints"),
)

endpoint_deliveries = table(
    "endpoint_deliveries",
    "Notifications that are sent to an endpoint, one row for each; written with the numbers of the notifications.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("endpoint_id", UUID),
    optional("notification_id", UUID, "Null for a test of the endpoint."),
    optional("event_id", BigInteger, "The notification's number."),
    required("event_type", Text),
    optional(
        "message",
        LargeBinary,
        "Exact bytes of the body, kept before the first attempt; every attempt and redelivery sends them.",
    ),
    required("status", Text, default="'pending'"),
    required("attempts", Integer, "Attempts that came to an end.", default="0"),
    required("created_at", TIME, default=NOW),
    optional("ended_at", TIME, "When it was delivered or given up."),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint(
        "tenant_id", "endpoint_id", "event_id", name="uq_endpoint_deliveries_tenant_id_endpoint_id_event_id"
    ),
    within_tenant("endpoint_id", "webhook_endpoints"),
    CheckConstraint("status in ('pending', 'delivered', 'failed')", name="status"),
    CheckConstraint(
        "(notification_id is null) = (event_id is null) and (notification_id is not null or message is not null)",
        name="subject",
    ),
    index("ix_endpoint_deliveries_newest", "tenant_id", "endpoint_id", desc("id")),
)

delivery_work = table(
    "delivery_work",
    "The next attempt that is due for a delivery.",
    key("delivery_id", UUID),
    required("tenant_id", UUID),
    required("endpoint_id", UUID),
    *due_work(),
    within_tenant("delivery_id", "endpoint_deliveries"),
    index("ix_delivery_work_due", "endpoint_id", "due_at"),
    index("ix_delivery_work_due_at", "due_at"),
    index("ix_delivery_work_claimed", "endpoint_id", where="claim_id is not null"),
)

delivery_attempts = table(
    "delivery_attempts",
    "Attempts of deliveries, as they ended.",
    key("delivery_id", UUID),
    key("number", Integer, "1, 2, 3, ... of the delivery, across redeliveries."),
    required("tenant_id", UUID),
    required("at", TIME, default=NOW),
    optional("status_code", SmallInteger, "Of the answer; null where none came."),
    required("milliseconds", Integer),
    optional("error", Text, "Why it was not delivered."),
    optional("answer", LargeBinary, "The first KiB of the answer's body."),
    within_tenant("delivery_id", "endpoint_deliveries"),
)

endpoint_breakers = table(
    "endpoint_breakers",
    "Circuit breakers of failing endpoints: from the first failed attempt until one is answered with 2xx.",
    key("endpoint_id", UUID),
    required("tenant_id", UUID),
    required("failures", Integer, "Failed attempts in a row.", default="0"),
    required("opens", Integer, "Pauses in a row that they led to.", default="0"),
    required(
        "failing_since", TIME, "First of the failures in a row; after days the endpoint is disabled.", default=NOW
    ),
    optional("paused_until", TIME, "No attempt is made before it; after it, while opens is above zero, a single one."),
    optional("probe_until", TIME, "Until when that single attempt is claimed."),
    required("error", Text),
    required("changed_at", TIME, default=NOW),
    within_tenant("endpoint_id", "webhook_endpoints"),
)
