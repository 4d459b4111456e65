"""The record of refused deliveries says in which order they came, also where one took the place of an older one."""

from alembic import op

revision = "0004"
down_revision = "0003"

# As before, but the newer record takes a number of its own: `sequence` is the order that operators read them in.
_REFUSE = """
create or replace function door_refuse_webhook(wanted_provider uuid, why text, address text, head bytea) returns void
    language sql security definer set search_path = pg_catalog, public as $$
    insert into public.webhook_refusals (slot, tenant_id, provider_id, reason, remote_address, body_head)
    select nextval('public.refusal_slots'), p.tenant_id, p.id, why, address, substr(head, 1, 4096)
    from (select 1) as one left join public.payment_providers p on p.id = wanted_provider
    on conflict (slot) do update set sequence = default, tenant_id = excluded.tenant_id,
        provider_id = excluded.provider_id, reason = excluded.reason, remote_address = excluded.remote_address,
        body_head = excluded.body_head, at = now()
$$
"""


def upgrade() -> None:
    """Replace the function."""
    op.execute(_REFUSE)
