"""Corruptions of refunds and their holds, and the invariants that each of them breaks."""

from __future__ import annotations

_MADE, _GIVING = (f"(select id from refunds where status = '{status}' limit 1)" for status in ("completed", "pending"))
_OTHER = "(select id from payment_transactions where status = 'completed' and exceptions = '{}' limit 1)"

# As in corruptions.py.
REFUND_CORRUPTIONS: dict[str, tuple[list[str], set[str]]] = {
    "refund's hold released before its end": (
        [f"update wallet_temp_logs set state = 'released', closed_at = now() where refund_id = {_GIVING}"],
        {"I3"},
    ),
    "refund's hold missing": ([f"delete from wallet_temp_logs where refund_id = {_GIVING}"], {"I3"}),
    "refund's hold left held": (
        [f"update wallet_temp_logs set state = 'held', closed_at = null where refund_id = {_MADE}"],
        {"I3"},
    ),
    "refund's hold of another amount": (
        [f"update wallet_temp_logs set amount_minor = amount_minor + 1 where refund_id = {_GIVING}"],
        {"I3"},
    ),
    "refund completed without its entry": (
        [f"update refunds set status = 'completed', completed_at = now() where id = {_GIVING}"],
        {"I3"},
    ),
    "refund of another amount than its entry": (
        [f"update refunds set amount_minor = amount_minor + 1 where id = {_MADE}"],
        {"I3"},
    ),
    "refund failed while its money is moved": ([f"update refunds set status = 'failed' where id = {_MADE}"], {"I3"}),
    "refund missing": ([f"delete from refunds where id = {_MADE}"], {"I3"}),
    "refund of another payment": ([f"update refunds set payment_id = {_OTHER} where id = {_MADE}"], {"I3"}),
    "refund of another tenant": ([f"update refunds set tenant_id = gen_random_uuid() where id = {_MADE}"], {"I3"}),
    "refund's mark removed": (
        [
            "update payment_transactions set exceptions = array_remove(exceptions, 'has_refunds')"
            f" where id = (select payment_id from refunds where id = {_GIVING})"
        ],
        {"I3"},
    ),
    "refund without work": (
        [f"delete from payment_work where payment_id = (select payment_id from refunds where id = {_GIVING})"],
        {"I9"},
    ),
}
