"""Reads seals and audit rows in the form in which they are hashed.

A trigger on `audit_logs` writes the seals, in the transaction of the rows: see `seal_audit_rows` in the migrations.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import RowMapping

from app.core.audit_seal import AUDIT_COLUMNS, hash_row

# Every column in its canonical form; `at` is exact, since extract returns a numeric.
AUDIT_TEXT = (
    "a.id, a.tenant_id::text as tenant_id, (extract(epoch from a.at) * 1000000)::bigint as at, a.actor, a.kind,"
    " a.payment_id::text as payment_id, a.payment_version, a.detail::text as detail"
)
SEAL_COLUMNS = (
    "number, first_position, last_position, audit_ids, first_audit_id, last_audit_id, row_marks, rows_sha256,"
    " previous_sha256, seal_sha256, (extract(epoch from sealed_at) * 1000000)::bigint as sealed_at"
)
# Part of a `with recursive`: each tenant's chains that have seals. One row of the index is read for each.
CHAINS = """
    chains (tenant_id, chain) as (
        select t.id, (select min(s.chain) from audit_seals s where s.tenant_id = t.id) from tenants t
        where cast(:tenant_id as uuid) is null or t.id = :tenant_id
        union all
        select c.tenant_id,
               (select min(s.chain) from audit_seals s where s.tenant_id = c.tenant_id and s.chain > c.chain)
        from chains c where c.chain is not null
    )
"""


def hash_audit_rows(rows: Sequence[RowMapping]) -> list[bytes]:
    """Return the hash of each row of `AUDIT_TEXT`, in order."""
    return [hash_row([row[column] for column in AUDIT_COLUMNS]) for row in rows]
