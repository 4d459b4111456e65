"""Corruptions of the books, and the invariants that each of them breaks."""

from __future__ import annotations

# Rows to spoil, each as an expression that gives one id.
_PAID = "(select id from payment_transactions where status = 'completed' and exceptions = '{}' order by id limit 1)"
_OPEN = "(select id from payment_transactions where status = 'pending' order by id limit 1)"
_REFUNDED = "(select id from payment_transactions where reversed_minor > 0 order by id limit 1)"
_WALLET = "(select id from wallets where kind = 'user' and version > 2 order by id limit 1)"
_CREDIT = f"""(select e.id from wallet_transactions e join wallets w on w.id = e.wallet_id
    where w.kind = 'user' and e.payment_id = {_PAID})"""
_WEBHOOK = "(select id from payment_webhooks where verdict = 'applied' order by id limit 1)"
_DECISION = "(select max(id) from audit_logs where kind = 'decision')"
_CREDITED = "(select max(id) from audit_logs where detail ? 'transfer')"
_SEAL = "(chain, number) = (select chain, number from audit_seals order by sealed_at desc limit 1)"
_NOTIFICATION = "(select notification_id from notification_numbers where number = 5)"

# Name: (statements of a superuser whom neither triggers nor foreign keys stop, invariants that must be named).
CORRUPTIONS: dict[str, tuple[list[str], set[str]]] = {
    "balance changed": ([f"update wallets set balance_minor = balance_minor + 1 where id = {_WALLET}"], {"I1", "I2"}),
    "wallet version changed": ([f"update wallets set version = version + 1 where id = {_WALLET}"], {"I2"}),
    "wallet given to another user": ([f"update wallets set user_id = 'thief' where id = {_WALLET}"], {"I3"}),
    "wallet moved to another tenant": (
        [f"update wallets set tenant_id = gen_random_uuid() where id = {_WALLET}"],
        {"I13"},
    ),
    "entry amount changed": (
        [
            "update wallet_transactions set amount_minor = amount_minor + 1,"
            f" balance_after_minor = balance_after_minor + direction where id = {_CREDIT}"
        ],
        {"I1", "I3", "I11"},
    ),
    "entry and balance changed together": (
        [
            "update wallet_transactions set amount_minor = amount_minor + 1,"
            f" balance_after_minor = balance_after_minor + direction where payment_id = {_PAID}",
            f"update payment_transactions set received_minor = received_minor + 1 where id = {_PAID}",
        ],
        {"I11"},
    ),
    "entry balances shifted": (
        [
            "update wallet_transactions set balance_before_minor = balance_before_minor + 5,"
            f" balance_after_minor = balance_after_minor + 5 where id = {_CREDIT}"
        ],
        {"I2", "I11"},
    ),
    "entry missing": ([f"delete from wallet_transactions where id = {_CREDIT}"], {"I1", "I2", "I3", "I11"}),
    "entry moved to another transfer": (
        [f"update wallet_transactions set transfer_id = gen_random_uuid() where id = {_CREDIT}"],
        {"I1", "I11"},
    ),
    "both entries missing": ([f"delete from wallet_transactions where payment_id = {_PAID}"], {"I2", "I3", "I11"}),
    "entry doubled": (
        [
            "insert into wallet_transactions select gen_random_uuid(), e.tenant_id, e.transfer_id, 'again',"
            " e.payment_id, e.wallet_id, w.version + 1, e.currency, e.direction, e.amount_minor, w.balance_minor,"
            " w.balance_minor + e.amount_minor, e.type, e.description, e.at"
            f" from wallet_transactions e join wallets w on w.id = e.wallet_id where e.id = {_CREDIT}"
        ],
        {"I1", "I2", "I3", "I11"},
    ),
    "entry of another tenant": (
        [f"update wallet_transactions set tenant_id = gen_random_uuid() where id = {_CREDIT}"],
        {"I13"},
    ),
    "entry time changed": ([f"update wallet_transactions set at = at - interval '1s' where id = {_CREDIT}"], {"I11"}),
    "entry text changed": ([f"update wallet_transactions set description = 'gift' where id = {_CREDIT}"], {"I11"}),
    "entry of no payment": (
        [f"delete from payment_transactions where id = {_PAID}"],
        {"I3", "I11"},
    ),
    "completed without credit": (
        [f"update payment_transactions set status = 'completed', completed_at = now() where id = {_OPEN}"],
        {"I3", "I11"},
    ),
    "status rolled back": (
        [f"update payment_transactions set status = 'processing', completed_at = null where id = {_PAID}"],
        {"I3", "I11"},
    ),
    "version skipped": ([f"update payment_transactions set version = version + 1 where id = {_PAID}"], {"I11"}),
    "amount changed": (
        [f"update payment_transactions set amount_minor = amount_minor * 2 where id = {_OPEN}"],
        {"I3", "I11"},
    ),
    "user changed": ([f"update payment_transactions set user_id = 'thief' where id = {_PAID}"], {"I3", "I11"}),
    "received amount changed": (
        [f"update payment_transactions set received_minor = received_minor + 1 where id = {_PAID}"],
        {"I3"},
    ),
    "reversal forgotten": ([f"update payment_transactions set reversed_minor = 0 where id = {_REFUNDED}"], {"I3"}),
    "waiting reversal removed": (
        [
            "update payment_transactions set exceptions = array_append(exceptions, 'reversal_waiting')"
            f" where id = {_OPEN}"
        ],
        {"I3"},
    ),
    "waiting reversal made up": (
        [
            "insert into waiting_reversals (payment_id, tenant_id, provider_id, currency, amount_minor)"
            f" select id, tenant_id, provider_id, 'USD', 1 from payment_transactions where id = {_OPEN}"
        ],
        {"I3"},
    ),
    "credit of no accepted case": (
        [
            "update dead_letters set state = 'rejected' where 'case:' || id in"
            " (select transfer_key from wallet_transactions)"
        ],
        {"I3"},
    ),
    "second payment under one key": (
        [
            "alter table payment_transactions drop constraint"
            " uq_payment_transactions_tenant_id_idempotency_scope_ide_9eef",
            "update payment_transactions set idempotency_key = (select idempotency_key from payment_transactions"
            f" where id = {_OPEN}) where id = {_PAID}",
        ],
        {"I8"},
    ),
    "open payment without work": ([f"delete from payment_work where payment_id = {_OPEN}"], {"I9"}),
    "hold left held": (
        [f"update wallet_temp_logs set state = 'held', closed_at = null where payment_id = {_PAID}"],
        {"I3"},
    ),
    "hold missing": ([f"delete from wallet_temp_logs where payment_id = {_OPEN}"], {"I3"}),
    "webhook byte changed": (
        [f"update payment_webhooks set body = set_byte(body, 3, get_byte(body, 3) # 1) where id = {_WEBHOOK}"],
        {"I5"},
    ),
    "webhook byte and hash changed": (
        [
            f"update payment_webhooks set body = set_byte(body, 3, get_byte(body, 3) # 1) where id = {_WEBHOOK}",
            f"update payment_webhooks set body_sha256 = sha256(body) where id = {_WEBHOOK}",
        ],
        {"I5"},
    ),
    "webhook missing": ([f"delete from payment_webhooks where id = {_WEBHOOK}"], {"I5"}),
    "webhook key missing": (
        [f"delete from webhook_keys where webhook_id = {_WEBHOOK}"],
        {"I5"},
    ),
    "webhook key hash changed": (
        [f"update webhook_keys set body_sha256 = sha256('x') where webhook_id = {_WEBHOOK}"],
        {"I5"},
    ),
    "webhook with a second first": (
        [
            "insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,"
            " remote_address, payment_id, status, verdict, settled_at) select gen_random_uuid(), tenant_id,"
            " provider_id, external_id, path, body, headers, body_sha256, remote_address, payment_id, status, verdict,"
            " settled_at"
            f" from payment_webhooks where id = {_WEBHOOK}"
        ],
        {"I6"},
    ),
    "webhook of another tenant": (
        [f"update payment_webhooks set tenant_id = gen_random_uuid() where id = {_WEBHOOK}"],
        {"I5", "I13"},
    ),
    "webhook left over": (
        [f"update payment_webhooks set status = 'pending', verdict = null, settled_at = null where id = {_WEBHOOK}"],
        {"I5"},
    ),
    "webhook settled without verdict": ([f"update payment_webhooks set verdict = null where id = {_WEBHOOK}"], {"I5"}),
    "webhook still waits though settled": (
        [
            "insert into webhook_work (webhook_id, tenant_id)"
            f" select id, tenant_id from payment_webhooks where id = {_WEBHOOK}"
        ],
        {"I5", "I16"},
    ),
    "dead letter missing": (["delete from dead_letters where reason in ('unusable', 'unknown_payment')"], {"I5"}),
    "conflict applied": (
        ["update payment_webhooks set verdict = 'applied' where conflicts_with is not null"],
        {"I6"},
    ),
    "notification missing": ([f"delete from notifications where id = {_NOTIFICATION}"], {"I14"}),
    "notification sent to another user": (
        [f"update notifications set user_id = 'thief' where id = {_NOTIFICATION}"],
        {"I14"},
    ),
    "notification number missing": (["delete from notification_numbers where number = 5"], {"I14"}),
    "notification numbered twice": (
        [
            "insert into notification_numbers (tenant_id, number, notification_id, user_id, is_queued)"
            " select tenant_id, last_number + 1, notification_id, user_id, false"
            " from notification_numbers join notification_counters using (tenant_id) where number = 5",
            "update notification_counters set last_number = last_number + 1",
        ],
        {"I14"},
    ),
    "notification names another number": (
        [f"update notifications set number = 6 where id = {_NOTIFICATION}"],
        {"I14"},
    ),
    "last notification number missing": (
        ["delete from notification_numbers where number = (select max(number) from notification_numbers)"],
        {"I14"},
    ),
    "notification counter ahead": (["update notification_counters set last_number = last_number + 1"], {"I14"}),
    "audit id changed": (
        [
            "alter table audit_logs alter column id set generated by default",
            f"update audit_logs set id = id + 1000000 where id = {_DECISION}",
        ],
        {"I11"},
    ),
    "audit tenant changed": (
        [f"update audit_logs set tenant_id = gen_random_uuid() where id = {_DECISION}"],
        {"I11"},
    ),
    "audit time changed": (
        [f"update audit_logs set at = at + interval '1 microsecond' where id = {_DECISION}"],
        {"I11"},
    ),
    "audit actor changed": ([f"update audit_logs set actor = 'operator:eve' where id = {_DECISION}"], {"I11"}),
    "audit kind changed": ([f"update audit_logs set kind = 'provider_call' where id = {_DECISION}"], {"I11"}),
    "audit payment changed": ([f"update audit_logs set payment_id = {_OPEN} where id = {_DECISION}"], {"I10", "I11"}),
    "audit version changed": (
        [f"update audit_logs set payment_version = payment_version + 5 where id = {_DECISION}"],
        {"I10", "I11"},
    ),
    "audit detail changed": (
        [f'update audit_logs set detail = detail || \'{{"reason": ""}}\' where id = {_DECISION}'],
        {"I11"},
    ),
    "audit names another amount": (
        [f"update audit_logs set detail = jsonb_set(detail, '{{transfer,amount_minor}}', '1') where id = {_CREDITED}"],
        {"I11"},
    ),
    "audit names another wallet": (
        [
            "update audit_logs set detail = jsonb_set(detail, '{entries,0,wallet_id}', to_jsonb(gen_random_uuid()))"
            f" where id = {_CREDITED}"
        ],
        {"I11"},
    ),
    "audit's entries are no objects": (
        [f"update audit_logs set detail = jsonb_set(detail, '{{entries}}', '[1, \"a\"]') where id = {_CREDITED}"],
        {"I11"},
    ),
    "audit detail is no object": ([f"update audit_logs set detail = '17' where id = {_DECISION}"], {"I10", "I11"}),
    "audit step outside the graph": (
        [
            "update audit_logs set detail = jsonb_set(detail, '{to}', '\"refunded\"')"
            " where id = (select min(id) from audit_logs where kind = 'decision' and detail->>'to' = 'completed')"
        ],
        {"I10", "I11"},
    ),
    "audit head removed": (["delete from audit_logs where id = (select min(id) from audit_logs)"], {"I11"}),
    "audit middle removed": (
        ["delete from audit_logs where id = (select percentile_disc(0.5) within group (order by id) from audit_logs)"],
        {"I11"},
    ),
    "audit tail removed": (["delete from audit_logs where id = (select max(id) from audit_logs)"], {"I11"}),
    "audit row inserted": (
        [
            "insert into audit_logs (tenant_id, actor, kind, detail)"
            " select id, 'operator:eve', 'key_created', '{}' from tenants limit 1"
        ],
        {"I11"},
    ),
    "audit rows swapped": (
        [
            "update audit_logs a set (actor, kind, payment_id, payment_version, detail, at) ="
            " (select actor, kind, payment_id, payment_version, detail, at from audit_logs b"
            f" where b.id = case a.id when {_DECISION} then 1 else {_DECISION} end) where id in (1, {_DECISION})"
        ],
        {"I11"},
    ),
    "audit row doubled at another time": (
        [
            "insert into audit_logs (id, tenant_id, at, actor, kind, detail) overriding system value"
            " select id, tenant_id, at + interval '1 microsecond', actor, kind, detail from audit_logs"
            f" where id = {_DECISION}"
        ],
        {"I11"},
    ),
    "last seal cut off": ([f"delete from audit_seals where {_SEAL}"], {"I11"}),
    "middle seal removed": (["delete from audit_seals where number = 2"], {"I11"}),
    "chain removed": (["delete from audit_seals"], {"I11"}),
    "seal moved to another chain": ([f"update audit_seals set chain = 9, number = 1 where {_SEAL}"], {"I11"}),
    "seal's rows hash changed": ([f"update audit_seals set rows_sha256 = sha256('x') where {_SEAL}"], {"I11"}),
    "seal's time changed": ([f"update audit_seals set sealed_at = now() where {_SEAL}"], {"I11"}),
    "seal's rows dropped from it": (
        [
            "alter table audit_seals drop constraint ck_audit_seals_positions",
            f"update audit_seals set audit_ids = audit_ids[2:] where {_SEAL}",
        ],
        {"I11"},
    ),
}
