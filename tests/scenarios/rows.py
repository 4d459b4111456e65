"""The final rows of one tenant, without what may differ between two runs: ids, times, numbers of attempts."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from sqlalchemy import Connection, text

# Names that the provider and the identity of a run give; what they name is compared by the other columns.
NAMES = re.compile(r"\b(?:sbx_\w+|msg_\w+|evt_\w+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")

# An answer that dies with its process after the webhook has completed the payment is not asked for again: the pay
# page's address is of no use any more.
_ANSWERED = re.compile(r'"has_url": \w+, |, "version": \d+')
# The two ends of a webhook without a payment: its attempts to find one are used up, or its claims.
_GIVEN_UP = re.compile(r"(?:unknown_payment|attempts_exhausted)(?:: [^\"]*)?")

QUERIES = {
    "payments": """
        select user_id, amount_minor, currency, status, version, exceptions, failure_reason, metadata, received_minor,
               received_currency, reversed_minor, session_closed, provider_reference is not null as has_reference,
               redirect_url is not null as has_url, completed_at is not null as is_completed
        from payment_transactions where tenant_id = :id""",
    "wallets": """
        select kind, user_id, currency, sum(balance_minor)::bigint as balance_minor,
               sum(case when kind = 'user' then version end)::bigint as version
        from wallets where tenant_id = :id group by kind, user_id, currency""",
    "entries": """
        select w.kind, w.user_id, e.type, e.direction, e.amount_minor, e.transfer_key
        from wallet_transactions e join wallets w on w.id = e.wallet_id where e.tenant_id = :id and w.kind = 'user'
        union all
        -- How many credits share a counter-entry depends on how many were settled together.
        select w.kind, null, e.type, e.direction, sum(e.amount_minor)::bigint, null
        from wallet_transactions e join wallets w on w.id = e.wallet_id
        where e.tenant_id = :id and w.kind = 'clearing' group by w.kind, e.type, e.direction""",
    "holds": "select user_id, currency, amount_minor, state from wallet_temp_logs where tenant_id = :id",
    "webhooks": """
        select path, status, verdict, reason, conflicts_with is not null as is_marked
        from payment_webhooks where tenant_id = :id""",
    "dead letters": """
        select kind, reason, state, amount_minor, currency, payment_id is not null as has_payment
        from dead_letters where tenant_id = :id""",
    "notifications": """
        select n.type, n.payload->>'status' as status, n.payload->>'exception' as exception, n.user_id
        from notifications n join notification_numbers d on d.notification_id = n.id and d.tenant_id = n.tenant_id
        where n.tenant_id = :id""",
    "decisions": """
        select distinct kind, detail->>'given' as given, detail->>'verdict' as verdict, detail->>'reason' as reason,
               detail->>'from' as before, detail->>'to' as after, detail->>'notification' as reported
        from audit_logs where tenant_id = :id and payment_id is not null and kind <> 'provider_call'""",
    "calls left": "select action from payment_work where tenant_id = :id",
    "work left": """
        select 'webhook' as what from webhook_work where tenant_id = :id
        union all select 'notification' from notification_work where tenant_id = :id""",
}

Rows = dict[str, list[str]]


def read_rows(connection: Connection, tenant_id: uuid.UUID) -> Rows:
    """Return the tenant's rows by table, each row as text and all of them in an order of their own."""
    found: Rows = {}
    for name, query in QUERIES.items():
        rows = connection.execute(text(query), {"id": tenant_id}).mappings().all()
        found[name] = sorted(_as_text(dict(row)) for row in rows)
    return found


def _as_text(row: dict[str, Any]) -> str:
    return NAMES.sub("#", json.dumps(row, sort_keys=True, default=str))


def without_race(rows: Rows) -> Rows:
    """Return the rows without what depends on which of a provider's answer and its webhook was saved first."""
    kept = dict(rows)
    kept["payments"] = [_ANSWERED.sub("", row) for row in rows["payments"]]
    kept["notifications"] = [row for row in rows["notifications"] if '"payment.redirect_ready"' not in row]
    kept["decisions"] = sorted(
        {
            json.dumps({key: value for key, value in json.loads(row).items() if key != "before"}, sort_keys=True)
            for row in rows["decisions"]
            if '"given": "accepted"' not in row
        }
    )
    return kept


def without_count(rows: Rows) -> Rows:
    """Return the rows without the difference between a last attempt that was made and one that a death used up."""
    kept = {name: sorted(_GIVEN_UP.sub("given up", row) for row in rows[name]) for name in ("webhooks", "dead letters")}
    return rows | kept
