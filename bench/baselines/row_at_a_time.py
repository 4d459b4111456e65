"""The second baseline: the same credits, one transaction for each, by pgbench with sixteen clients.

It writes the rows that the product writes for a success, in the same tables with the same constraints and triggers,
as the worker's role. It verifies and decides nothing: what is compared is the way of writing.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from bench.figures import BenchFailed
from bench.filling import AMOUNT, AMOUNT_MINOR, CLEARING_SHARDS, CURRENCY
from bench.measured_stack import MeasuredStack

# As many as the measured ceiling of this shape had; more of them on two processors gain nothing.
CLIENTS = 16
THREADS = 2
SECONDS_MAX = 120

_SCRIPT = f"""
\\set shard random(0, {CLEARING_SHARDS - 1})
begin;
delete from webhook_work where webhook_id = (select webhook_id from webhook_work where due_at <= now()
    order by due_at limit 1 for update skip locked) returning webhook_id, payment_id \\gset
select tenant_id, provider_id, user_id, version from payment_transactions where id = :payment_id::uuid
    for no key update \\gset
update payment_transactions set status = 'completed', version = version + 1, completed_at = now(), updated_at = now(),
    received_minor = {AMOUNT_MINOR}, received_currency = '{CURRENCY}' where id = :payment_id::uuid;
delete from payment_work where payment_id = :payment_id::uuid;
update wallet_temp_logs set state = 'applied', closed_at = now() where payment_id = :payment_id::uuid;
insert into wallets (id, tenant_id, kind, user_id, currency)
    values (uuidv7(), :tenant_id::uuid, 'user', :user_id::text, '{CURRENCY}') on conflict do nothing;
insert into notifications (id, tenant_id, user_id, payment_id, type, payload) values (uuidv7(), :tenant_id::uuid,
    :user_id::text, :payment_id::uuid, 'payment.completed', jsonb_build_object('id', :payment_id::uuid,
    'amount', '{AMOUNT}', 'currency', '{CURRENCY}', 'status', 'completed', 'user_id', :user_id::text))
    returning id as notification_id \\gset
insert into notification_work (notification_id, tenant_id, user_id)
    values (:notification_id::uuid, :tenant_id::uuid, :user_id::text);
update payment_webhooks set status = 'processed', verdict = 'applied', settled_at = now() where id = :webhook_id::uuid;
insert into audit_logs (tenant_id, actor, kind, payment_id, payment_version, detail) values (:tenant_id::uuid,
    'provider:' || :provider_id::text, 'payment_completed', :payment_id::uuid, :version::integer + 1,
    jsonb_build_object('to', 'completed', 'webhook_id', :webhook_id::uuid, 'amount_minor', {AMOUNT_MINOR}));
with moved as (update wallets set balance_minor = balance_minor + {AMOUNT_MINOR}, version = version + 1,
        updated_at = now()
    where tenant_id = :tenant_id::uuid and user_id = :user_id::text and currency = '{CURRENCY}' and kind = 'user'
    returning id, balance_minor, version)
insert into wallet_transactions (id, tenant_id, transfer_id, transfer_key, payment_id, wallet_id, wallet_version,
        currency, direction, amount_minor, balance_before_minor, balance_after_minor, type, description)
    select uuidv7(), :tenant_id::uuid, :webhook_id::uuid, 'deposit', :payment_id::uuid, id, version, '{CURRENCY}', 1,
        {AMOUNT_MINOR}, balance_minor - {AMOUNT_MINOR}, balance_minor, 'deposit', 'Payment deposit' from moved;
with moved as (update wallets set balance_minor = balance_minor - {AMOUNT_MINOR}, version = version + 1,
        updated_at = now()
    where tenant_id = :tenant_id::uuid and provider_id = :provider_id::uuid and currency = '{CURRENCY}'
        and kind = 'clearing' and shard = :shard::smallint returning id, balance_minor, version)
insert into wallet_transactions (id, tenant_id, transfer_id, transfer_key, payment_id, wallet_id, wallet_version,
        currency, direction, amount_minor, balance_before_minor, balance_after_minor, type, description)
    select uuidv7(), :tenant_id::uuid, :webhook_id::uuid, 'deposit', :payment_id::uuid, id, version, '{CURRENCY}', -1,
        {AMOUNT_MINOR}, balance_minor + {AMOUNT_MINOR}, balance_minor, 'deposit', 'Payment deposit' from moved;
commit;
"""  # noqa: S608  # constants


def open_clearing(stack: MeasuredStack) -> None:
    """Make the clearing shards, which the product makes at a provider's first credit."""
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute(
            "insert into wallets (id, tenant_id, kind, provider_id, shard, currency)"
            " select uuidv7(), %s, 'clearing', %s, n, %s from generate_series(0, %s - 1) as n on conflict do nothing",
            (str(stack.shop.tenant_id), str(stack.shop.provider_id), CURRENCY, CLEARING_SHARDS),
        )


def measure_rows(stack: MeasuredStack, count: int) -> float:
    """Credit about `count` due webhooks one by one; return credits per second. Raise BenchFailed."""
    script = stack.databases.folder / "credit.sql"
    script.write_text(_SCRIPT, encoding="utf-8")
    each = count // CLIENTS
    answer = subprocess.run(
        (
            *(str(find_pgbench(stack)), "--no-vacuum", "--protocol", "prepared", "--file", str(script)),
            *("--client", str(CLIENTS), "--jobs", str(THREADS), "--transactions", str(each)),
            stack.databases.database_url,
        ),
        env={**os.environ, "PGOPTIONS": "-c role=sluice_worker"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    processed = re.search(r"actually processed: (\d+)/", answer.stdout)
    rate = re.search(r"tps = ([\d.]+)", answer.stdout)
    if answer.returncode or not processed or int(processed.group(1)) != each * CLIENTS or not rate:
        raise BenchFailed(f"pgbench: {answer.stdout[-300:]} {answer.stderr[-600:]}")
    return float(rate.group(1))


def find_pgbench(stack: MeasuredStack) -> Path:
    """Return the path of pgbench, which is installed with the embedded server."""
    return stack.servers.postgres.bin / "pgbench"
