"""The record of a dropped partition, and its audit row, which has the same content."""

from __future__ import annotations

from sqlalchemy import RowMapping

from app.core.audit_seal import hash_row

KIND = "partition_dropped"

# The audit row's detail of a drop `d`; the bounds are starts of months, so that dates are exact.
DETAIL = (
    "jsonb_build_object('table', d.table_name, 'begins_at', to_char(d.begins_at at time zone 'UTC', 'YYYY-MM-DD'),"
    " 'ends_at', to_char(d.ends_at at time zone 'UTC', 'YYYY-MM-DD'), 'rows', d.row_count,"
    " 'first_seal', d.first_seal, 'last_seal', d.last_seal, 'kept_seals', to_jsonb(d.kept_seals),"
    " 'previous_sha256', encode(d.previous_sha256, 'hex'))"
)
# The columns that `hash_record` takes.
HASHED = (
    "d.audit_id, d.tenant_id::text as tenant_id, (extract(epoch from d.audit_at) * 1000000)::bigint as at, d.actor,"
    f" {DETAIL}::text as detail"
)


def hash_record(row: RowMapping) -> bytes:
    """Return the hash of a record, which is that of its audit row; `row` has the columns of `HASHED`."""
    return hash_row([row["audit_id"], row["tenant_id"], row["at"], row["actor"], KIND, None, None, row["detail"]])
