"""Corruptions of money in suspense, and the invariants that each of them breaks."""

from __future__ import annotations

_OF_POLICY = (
    "select id from refunds where suspended_minor is not null and status = '{}' and credited_minor is {} limit 1"
)
_PENDING, _MADE, _FAILED, _CREDITED = (
    f"({_OF_POLICY.format(status, credited)})"
    for status, credited in (("pending", "null"), ("completed", "null"), ("failed", "null"), ("failed", "not null"))
)
_WALLET = "(select id from wallets where kind = 'suspense' and version > 0 limit 1)"

# As in corruptions.py.
SUSPENSE_CORRUPTIONS: dict[str, tuple[list[str], set[str]]] = {
    "balance in suspense changed": (
        [f"update wallets set balance_minor = balance_minor + 1 where id = {_WALLET}"],
        {"I1", "I2", "I3"},
    ),
    "suspense given to a user": (
        [f"update wallets set kind = 'user', user_id = 'thief', provider_id = null, shard = 0 where id = {_WALLET}"],
        {"I1", "I3"},
    ),
    "suspense of another provider": (
        ["update wallets set provider_id = gen_random_uuid() where kind = 'suspense'"],
        {"I3"},
    ),
    "refund by a policy said to be completed": (
        [f"update refunds set status = 'completed', completed_at = now() where id = {_PENDING}"],
        {"I3"},
    ),
    "refund by a policy forgotten": ([f"update refunds set status = 'failed' where id = {_PENDING}"], {"I3"}),
    "refund by a policy failed while its money went back": (
        [f"update refunds set status = 'failed' where id = {_MADE}"],
        {"I3"},
    ),
    "refund by a policy said to be a tenant's": (
        [
            "update refunds set suspended_minor = null, idempotency_key = 'made up', request_sha256 = sha256('')"
            f" where id = {_PENDING}"
        ],
        {"I3"},
    ),
    "refund by a policy of another amount": (
        [f"update refunds set amount_minor = 1, suspended_minor = 1 where id = {_PENDING}"],
        {"I3"},
    ),
    "refund by a policy with a hold": (
        [
            "insert into wallet_temp_logs (payment_id, refund_id, kind, tenant_id, user_id, currency, amount_minor)"
            f" select payment_id, id, 'refund', tenant_id, 'user-0', currency, amount_minor from refunds"
            f" where id = {_PENDING}"
        ],
        {"I3"},
    ),
    "money in suspense said to be credited": (
        [f"update refunds set credited_minor = amount_minor where id = {_FAILED}"],
        {"I3"},
    ),
    "money credited from suspense said to be there": (
        [f"update refunds set credited_minor = 0 where id = {_CREDITED}"],
        {"I3"},
    ),
    "case about money in suspense closed without a decision": (
        [
            "update dead_letters set state = 'superseded', closed_at = now()"
            " where reason = 'suspense' and state = 'open'"
        ],
        {"I3"},
    ),
    "movement said to be of money in suspense": (
        [
            "update payment_movements set suspense_minor = amount_minor where (payment_id, kind, reversal_id) ="
            " (select payment_id, kind, reversal_id from payment_movements where state = 'booked' limit 1)",
            "insert into payment_movements (payment_id, kind, reversal_id, tenant_id, provider_id, currency,"
            " amount_minor, state, suspense_minor) select p.id, 'reversed', 'made_up', p.tenant_id, p.provider_id,"
            " 'USD', 5, 'booked', 5 from payment_transactions p join refunds f on f.payment_id = p.id limit 1",
        ],
        {"I3"},
    ),
    "audit of what was put into suspense without its entries": (
        ["update audit_logs set detail = detail - 'suspense' where detail ? 'suspense'"],
        {"I11"},
    ),
}
