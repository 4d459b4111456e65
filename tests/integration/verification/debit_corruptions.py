"""Corruptions of debits and their entries, and the invariants that each of them breaks."""

from __future__ import annotations

_OPEN, _REVERSED = (f"(select id from debits where reversed_at is {which} limit 1)" for which in ("null", "not null"))
_AUDIT = "update audit_logs set detail = detail || {} where kind = 'debit_created'"

# As in corruptions.py.
DEBIT_CORRUPTIONS: dict[str, tuple[list[str], set[str]]] = {
    "debit of another amount than its entries": (
        [f"update debits set amount_minor = amount_minor - 1 where id = {_OPEN}"],
        {"I3"},
    ),
    "debit of another user than its entries": (["update debits set user_id = 'eve'"], {"I3", "I11"}),
    "debit of another currency than its entries": ([f"update debits set currency = 'EUR' where id = {_OPEN}"], {"I3"}),
    "debit without its entries": ([f"delete from wallet_transactions where debit_id = {_OPEN}"], {"I2", "I3", "I11"}),
    "debit without its spending entry": (
        [
            f"delete from wallet_transactions e using wallets w where e.debit_id = {_OPEN} and w.id = e.wallet_id"
            " and w.kind = 'spending'"
        ],
        {"I1", "I2", "I3", "I11"},
    ),
    "debit missing": ([f"delete from debits where id = {_OPEN}"], {"I3", "I11"}),
    "debit said to be reversed": ([f"update debits set reversed_at = now() where id = {_OPEN}"], {"I3", "I11"}),
    "reversal of a debit forgotten": (
        [f"update debits set reversed_at = null, reversal_reason = null where id = {_REVERSED}"],
        {"I3", "I11"},
    ),
    "debit reversed at another time": (
        [f"update debits set reversed_at = reversed_at + interval '1 second' where id = {_REVERSED}"],
        {"I3", "I11"},
    ),
    "debit of another tenant": (
        [f"update debits set tenant_id = gen_random_uuid() where id = {_OPEN}"],
        {"I3", "I11"},
    ),
    "entry of no debit": (
        [f"update wallet_transactions set debit_id = gen_random_uuid() where debit_id = {_OPEN}"],
        {"I3", "I11"},
    ),
    "entry of a debit with another description": (
        [f"update wallet_transactions set description = 'gift' where debit_id = {_OPEN}"],
        {"I11"},
    ),
    "debit in another spending wallet of ours": (
        ["update wallets set kind = 'clearing', provider_id = gen_random_uuid() where kind = 'spending'"],
        {"I1", "I3"},
    ),
    "debit of another reference": ([f"update debits set reference = 'order-2' where id = {_OPEN}"], {"I11"}),
    "audit row of a debit names another debit": (
        [_AUDIT.format("jsonb_build_object('debit_id', gen_random_uuid())")],
        {"I11"},
    ),
    "audit row of a debit without entries": ([_AUDIT.format('\'{"entries": 7, "transfer": []}\'')], {"I11"}),
    "idempotency key of two debits": (
        [
            "alter table debits drop constraint uq_debits_tenant_id_idempotency_key",
            "update debits set idempotency_key = 'same'",
        ],
        {"I8"},
    ),
}
