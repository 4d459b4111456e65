"""Webhooks that raise, hang or kill their worker end as dead letters and take no neighbour along; floods neither."""

from __future__ import annotations

import textwrap
import uuid

import pytest

from app.core.payment import Payment
from app.services.webhooks import claims as webhook_claims
from app.services.webhooks import settle
from app.services.webhooks.claims import WebhookQueue
from models import database
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.engine import Engine, claim_call

# Faults of the database, for payments of the user `poison` alone.
FAULTS = {
    "raises": "raise exception 'poisoned'",
    "hangs": "perform pg_sleep(60)",
    "breaks its connection": "perform pg_terminate_backend(pg_backend_pid())",
}
TRIGGER = """
    create function poison() returns trigger language plpgsql security definer as $$
    begin
        if new.user_id = 'poison' and new.status = 'completed' then {fault}; end if;
        return new;
    end $$;
    create trigger poison before update on payment_transactions for each row execute function poison();
"""


def pay(shop: Shop, users: list[str]) -> list[Payment]:
    payments = [shop.deposit(user_id=user) for user in users]
    for payment in payments:
        shop.deliver(shop.body(payment))
    return payments


def settle_until_over(engine: Engine, payment: Payment) -> list[tuple[str, str]]:
    for _ in range(settle.ATTEMPTS_MAX + 2):
        engine.make_webhooks_due()
        engine.settle()
    return engine.dead_letters(payment.id)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_webhook_that_spoils_its_batch_is_the_only_one_that_suffers(
    databases: Databases, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A hanging statement is cut off by the worker's own limit; a test need not wait for fifteen seconds of it.
    monkeypatch.setitem(database.STATEMENT_TIMEOUT_MS, "worker", 400)
    databases.rows(TRIGGER.format(fault=FAULTS[fault]))
    with databases.open_runtime() as runtime:
        shop, engine = make_shop(runtime), Engine(runtime, databases)
        payments = pay(shop, ["ann", "poison", "bob", "cid"])
        engine.settle()
        assert [str(shop.payment(one.id).status) for one in payments] == ["completed", "pending"] + ["completed"] * 2
        if fault != "raises":
            # It may be the database's trouble, which ends, and costs no attempt; only an hour of it among others that
            # are settled is its own.
            assert settle_until_over(engine, payments[1]) == []
            assert databases.rows("select attempts, postponed >= 7 as is_long from webhook_work") == [
                {"attempts": 0, "is_long": True}
            ]
            databases.rows("update webhook_work set postponed = 50, postponed_since = now() - interval '61 minutes'")
        ((reason, state),) = settle_until_over(engine, payments[1])
        assert (reason in ("raised", "attempts_exhausted"), state) == (True, "open")
        assert engine.verdicts(payments[1].id) == [("failed", "dead_letter")]
        raw = databases.rows("select body, headers, attempts from dead_letters")
        assert (len(raw), bytes(raw[0]["body"])[:1], "webhook-id" in raw[0]["headers"]) == (1, b"{", True)


# Put in front of the worker's own start: a provider's form whose translation kills the process for one reference.
KILLER = """
    import os, signal, sys
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name != "tasks.worker_process":
                return None
            sys.meta_path.remove(self)
            from app.providers.adapters.sandbox import SandboxAdapter
            translate = SandboxAdapter.translate
            def deadly(adapter, delivered):
                if b'"deadly"' in delivered.body:
                    os.kill(os.getpid(), signal.SIGKILL)
                return translate(adapter, delivered)
            SandboxAdapter.translate = deadly
            return None
    sys.meta_path.insert(0, Finder())
"""


def test_a_webhook_that_kills_its_worker_takes_no_other_along(stack: Stack) -> None:
    databases, shop = stack.databases, stack.make_shop()
    (databases.folder / "sitecustomize.py").write_text(textwrap.dedent(KILLER))
    payments = [shop.deposit() for _ in range(6)]
    for number, payment in enumerate(payments):
        reference = "deadly" if number == 2 else None
        shop.deliver(shop.body(payment, provider_reference=reference), path="provider")
    stack.start("worker-settle", PYTHONPATH=str(databases.folder))
    worker = stack.running["worker-settle"]

    def is_over() -> bool:
        # A dead worker's lease is over after a second, not after half a minute; a living one needs less.
        databases.rows("update webhook_work set leased_until = null where leased_until < now() + interval '29 seconds'")
        stack.runtime.doorbells.ring_regardless("settle")
        return int(databases.value("select count(*) from webhook_work")) == 0

    wait_until(is_over, "every webhook is settled or a dead letter", 60)
    assert worker.poll() is None
    statuses = [str(shop.payment(payment.id).status) for payment in payments]
    assert statuses == ["completed"] * 2 + ["pending"] + ["completed"] * 3
    rows = databases.rows("select payment_id, reason, attempts from dead_letters")
    assert rows == [{"payment_id": payments[2].id, "reason": "attempts_exhausted", "attempts": settle.ATTEMPTS_MAX + 1}]


FLOOD = """
    with made as (
        insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,
                                      remote_address, payment_id)
        select gen_random_uuid(), :tenant, :provider, 'flood-' || n, 'payment-callback', convert_to('{}', 'UTF8'), '{}',
               '\\x00', '127.0.0.1', :payment
        from generate_series(1, :rows) as n returning id, tenant_id, payment_id
    )
    insert into webhook_work (webhook_id, tenant_id, payment_id, due_at)
    select id, tenant_id, payment_id, now() - interval '1 hour' from made
"""


def test_a_flooding_tenant_does_not_starve_another(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        flooding, quiet = make_shop(runtime), make_shop(runtime)
        databases.rows(
            FLOOD, tenant=flooding.tenant_id, provider=flooding.provider_id, payment=uuid.uuid4(), rows=100_000
        )
        databases.rows("analyze webhook_work")
        payments = pay(quiet, ["ann"] * 5)
        settle.settle_batch(runtime, WebhookQueue())
        assert {str(quiet.payment(payment.id).status) for payment in payments} == {"completed"}
        left = databases.value("select count(*) from webhook_work where tenant_id = :id", id=flooding.tenant_id)
        assert 100_000 - webhook_claims.BATCH_ROWS <= left < 100_000


def test_many_provider_calls_of_one_tenant_do_not_starve_another(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        flooding, quiet = make_shop(runtime), make_shop(runtime)
        databases.rows("update payment_providers set calls_max = 1 where id = :id", id=flooding.provider_id)
        many = [flooding.deposit() for _ in range(20)]
        mine = quiet.deposit()
        claims = [claim_call(runtime) for _ in range(3)]
        assert [claim and claim.payment_id for claim in claims] == [many[0].id, mine.id, None]
