"""With three years of months, what is asked for often still reads a month or two."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text

from app.runtime.runtime import Runtime
from app.services.payments import timeline
from app.services.verification import chain
from models.database import Role
from models.migrations import make_partitions
from models.partitions import PARTITIONED
from testbed.servers import Databases
from testbed.shop import Shop
from tests.support.aging import make_months
from tests.support.months import homes, month_name

YEARS_MONTHS = 36
# With this month and the two after it.
AHEAD = 3


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the partitions that a plan has really scanned."""
    if plan.get("Actual Loops", 1) and "Relation Name" in plan and "Scan" in plan["Node Type"]:
        yield plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from scanned(child)


def explain(runtime: Runtime, role: Role, tenant_id: uuid.UUID | None, sql: str, values: dict[str, Any]) -> list[str]:
    """Run a query and return the tables that it has scanned."""
    with runtime.database.transaction(role, tenant_id) as connection:
        connection.execute(text("set local enable_seqscan = off"))
        said = connection.execute(text(f"explain (analyze, format json) {sql}"), values).scalar_one()
    return list(scanned((json.loads(said) if isinstance(said, str) else said)[0]["Plan"]))


def test_three_years_of_months_are_not_scanned(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    make_months(databases, YEARS_MONTHS)
    payment = tenant.deposit()
    webhook = tenant.deliver(tenant.body(payment)).webhook_id
    about = {"tenant_id": tenant.tenant_id, "payment_id": payment.id}
    now = {month_name(table, 0) for table in PARTITIONED}
    seconds = int(datetime.datetime.now(datetime.UTC).timestamp())
    by_id = explain(
        runtime, "worker", None, "select 1 from payment_webhooks where id = :id", {"id": webhook}
    )  # fmt: skip
    assert by_id == [month_name("payment_webhooks", 0)]
    reported = explain(runtime, "web", tenant.tenant_id, timeline._TIMELINE.text, about)
    scanned = {name for name in reported if name.startswith(PARTITIONED)} - {
        f"{table}_default" for table in PARTITIONED
    }
    # What may still come, made ahead, is not older than the payment either.
    assert scanned >= now
    assert len(scanned) <= len(PARTITIONED) * (AHEAD + 1)
    sealed = explain(
        runtime, "auditor", None, chain._ROWS.text, {"ids": [1], "first": seconds * 10**6, "last": seconds * 10**6}
    )
    assert {name for name in sealed if name.startswith("audit_logs")} == {month_name("audit_logs", 0)}


def test_lists_read_a_row_or_two_of_each_month_and_no_more(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    make_months(databases, YEARS_MONTHS)
    databases.rows(
        """
        insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,
            remote_address, payment_id, status, verdict, received_at, settled_at)
        select (left(first_id(at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid, :tenant, :provider,
               n::text, 'provider', '', '{}', '', '::1', gen_random_uuid(), 'processed', 'applied', at, at
        from (select n, now() - n * interval '2 hours' as at from generate_series(1, 12000) as n) as w
        """,
        tenant=tenant.tenant_id, provider=tenant.provider_id,
    )  # fmt: skip
    make_partitions(databases.owner_database_url)
    databases.rows("analyze payment_webhooks")
    assert homes(databases, "payment_webhooks").keys() >= {month_name("payment_webhooks", ago) for ago in range(1, 30)}
    newest = "select * from payment_webhooks where tenant_id = :id order by received_at desc, id desc limit 50"
    with runtime.database.transaction("operator") as connection:
        said = connection.execute(text(f"explain (analyze, buffers, format json) {newest}"), {"id": tenant.tenant_id})
        plan = said.scalar_one()[0]["Plan"]
    # Two or three pages for each month to find where to begin, and the rows themselves.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 50 * 3 + (YEARS_MONTHS + AHEAD + 1) * 5
