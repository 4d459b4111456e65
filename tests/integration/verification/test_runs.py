"""Proofs of the books: incremental, concurrent with writers, kept with their result, and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.runtime.runtime import Runtime
from app.services.operators import redrive
from app.services.payments import queries
from app.services.verification import choose_mode, prove, prove_due, record, runs, walking
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.support import books
from tests.support.aging import SEAL_AGAIN

REPLICA = "set session_replication_role = replica; "
SPOIL_BALANCE = "update wallets set balance_minor = balance_minor + 1 where kind = 'user'"


def run_verify(databases: Databases, *arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["verify", *arguments], env=databases.environment)


def pay(shop: Shop, user_id: str = "ann") -> None:
    """One deposit through to the wallet."""
    books.complete(shop, shop.deposit(user_id=user_id))
    books.settle(shop.runtime)


def test_an_empty_database_holds(runtime: Runtime) -> None:
    report = prove_due(runtime)
    assert report.is_whole
    assert report.verdict.startswith("The books hold (incremental proof in ")


def test_the_books_hold_after_everything_is_replayed(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    books.make_busy(databases, tenant, users=1)
    balances = databases.rows("select id, balance_minor from wallets order by id")
    webhooks = databases.rows("select id from payment_webhooks where conflicts_with is null")
    for webhook in webhooks:
        redrive.replay_webhook(runtime, tenant.tenant_id, webhook["id"], "operator:test")
    assert prove(runtime.database, "full").is_whole
    for _ in range(6):
        databases.rows("update webhook_work set due_at = now(), leased_until = null")
        books.settle(runtime)
    assert databases.value("select count(*) from payment_webhooks where status = 'pending'") == 0
    report = prove(runtime.database, "full")
    assert report.is_whole, report.as_json()
    assert databases.rows("select id, balance_minor from wallets order by id") == balances


def test_an_incremental_proof_reads_only_what_is_new(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    books.make_busy(databases, tenant, users=1)
    first = prove_due(runtime)
    assert first.is_whole, first.as_json()
    assert first.counts["payments"] == databases.value("select count(*) from payment_transactions")
    sealed = "select count(*) from audit_seals"
    before = databases.value(sealed)
    pay(tenant)
    second = prove_due(runtime)
    assert (second.counts["payments"], second.counts["notifications"]) == (1, 1)
    assert second.counts["seals"] == databases.value(sealed) - before > 0
    assert prove_due(runtime).counts.get("payments", 0) == 0
    assert databases.value("select count(*) from verification_runs where is_complete") == 3


def test_an_incremental_proof_finds_what_is_wrong_with_the_new(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    pay(tenant)
    assert prove_due(runtime).is_whole
    pay(tenant)
    databases.rows(REPLICA + "update wallet_transactions set description = 'gift' where wallet_version = 2")
    report = prove_due(runtime)
    assert report.invariants == ["I11"]
    # The place does not move over something broken: the next proof finds it again.
    assert prove_due(runtime).invariants == ["I11"]


def test_an_incremental_proof_finds_a_chain_that_was_written_anew(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    pay(tenant)
    assert prove_due(runtime).is_whole
    databases.rows(
        REPLICA + "update audit_logs set actor = 'operator:eve' where kind = 'key_created';"
        "delete from audit_seals;" + SEAL_AGAIN
    )
    assert "I11" in prove_due(runtime).invariants
    assert "I11" in prove(runtime.database, "full").invariants


def test_a_proof_of_one_tenant_reads_no_other(databases: Databases, runtime: Runtime) -> None:
    sound, spoiled = make_shop(runtime), make_shop(runtime)
    for shop in (sound, spoiled):
        pay(shop)
    databases.rows(f"{SPOIL_BALANCE} and tenant_id = :id", id=spoiled.tenant_id)
    assert prove(runtime.database, "full", sound.tenant_id).is_whole
    assert prove(runtime.database, "full", spoiled.tenant_id).invariants == ["I1", "I2"]


def test_a_broken_invariant_is_one_alarm_until_a_full_proof_finds_it_whole(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    pay(tenant)
    databases.rows(SPOIL_BALANCE)
    opened = "select subject, resolved_by from alerts where kind = 'books_broken' and severity = 'critical' order by id"

    def alarms() -> dict[str, str | None]:
        return {row["subject"]: row["resolved_by"] for row in databases.rows(opened)}

    for mode in ("full", "incremental", "full"):
        record(runtime.database, prove(runtime.database, mode))
        assert alarms() == {"I1": None, "I2": None}
    databases.rows(REPLICA + "delete from wallet_temp_logs")
    record(runtime.database, prove(runtime.database, "full"))
    assert alarms() == {"I1": None, "I2": None, "I3": None}
    reported = {(row["name"], row["label"]): row["total"] for row in databases.rows("select * from watch_books()")}
    assert reported["books_broken", "full"] == 3
    databases.rows("update wallets set balance_minor = balance_minor - 1 where kind = 'user'")
    record(runtime.database, prove(runtime.database, "incremental"))
    assert alarms() == {"I1": None, "I2": None, "I3": None}
    record(runtime.database, prove(runtime.database, "full"))
    whole = "a full proof found it whole"
    assert alarms() == {"I1": whole, "I2": whole, "I3": None}


def test_chunks_do_not_change_the_result(
    databases: Databases, runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.make_busy(databases, tenant, users=1)
    whole = prove(runtime.database, "full")
    monkeypatch.setattr(walking, "CHUNK_ROWS", 2)
    touched = prove(runtime.database, "incremental")
    assert whole.is_whole
    assert touched.is_whole
    assert touched.counts["payments"] == whole.counts["payments"]


def test_time_that_is_up_is_said(runtime: Runtime, tenant: Shop, databases: Databases) -> None:
    pay(tenant)
    report = prove(runtime.database, "incremental", seconds_max=0)
    record(runtime.database, report)
    assert not report.is_complete
    assert "time was up" in report.verdict
    assert databases.value("select count(*) from verification_places") == 0


def test_large_books_are_read_on_from_the_last_proof(
    runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_mode(runtime.database) == "full"
    monkeypatch.setattr(runs, "SMALL_AUDIT_ROWS", 1)
    assert choose_mode(runtime.database) == "incremental"


@pytest.mark.slow
def test_the_books_hold_at_every_moment_while_they_are_written(databases: Databases, runtime: Runtime) -> None:
    shops = [make_shop(runtime), make_shop(runtime)]
    is_done = threading.Event()

    def write(shop: Shop, user_id: str) -> int:
        rounds = 0
        while not is_done.is_set():
            rounds += 1
            payment = shop.deposit(user_id=user_id)
            if rounds % 3 == 0:
                queries.cancel_payment(runtime, shop.caller, payment.id)
            body = books.complete(
                shop, payment, f"{user_id}-{rounds}", **({"amount": "1.00"} if rounds % 4 == 0 else {})
            )
            shop.deliver(body, webhook_id=f"{user_id}-{rounds}")
            books.settle(runtime)
            if rounds % 5 == 0:
                shop.deliver_refund(payment, provider_reference=books.name_reference(payment))
        return rounds

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, shop, f"user-{number}") for shop in shops for number in range(2)]
        try:
            for turn in range(20):
                report = prove(runtime.database, "incremental" if turn % 3 == 0 else "full")
                assert report.is_whole, report.as_json()
                record(runtime.database, report)
        finally:
            is_done.set()
        assert all(writer.result() > 5 for writer in writers)
    books.settle(runtime)
    assert prove(runtime.database, "full").is_whole
    assert databases.value("select count(*) from payment_transactions where status = 'completed'") > 20


def test_the_command_proves_and_says_so(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    books.make_busy(databases, tenant, users=1)
    held = subprocess.run(
        [sys.executable, "-m", "app.cli", "verify"],
        env=os.environ | databases.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert held.returncode == 0, held.stderr
    assert held.stdout.startswith("The books hold (full proof in ")
    assert len(held.stdout.splitlines()) == 1
    databases.rows(SPOIL_BALANCE)
    broken = run_verify(databases)
    assert broken.exit_code == 1
    lines = broken.stdout.splitlines()
    assert lines[-1].startswith("BROKEN: I1, I2 (")
    assert [line[:3] for line in lines if not line.startswith("    ")] == ["I1 ", "I2 ", "BRO"]
    document = json.loads(run_verify(databases, "--full", "--json").stdout)
    assert document["ok"] is False
    wallet = str(databases.value("select id from wallets where kind = 'user'"))
    assert {(each["invariant"], each["rows"][0]["subject"]) for each in document["broken"]} == {
        ("I1", str(tenant.tenant_id)),
        ("I2", wallet),
    }


def test_the_command_keeps_and_checks_heads(
    databases: Databases, runtime: Runtime, tenant: Shop, tmp_path: Path
) -> None:
    path = tmp_path / "heads"
    assert run_verify(databases, "--write-head", str(path)).exit_code == 0
    assert run_verify(databases, "--check-head", str(path)).exit_code == 0
    head = json.loads(path.read_text())
    path.write_text(json.dumps(head | {"sha256": "0" * 64}) + "\n")
    checked = run_verify(databases, "--check-head", str(path))
    assert checked.exit_code == 1
    assert "I12 does not hold" in checked.stdout
    path.write_text("{}\n")
    assert run_verify(databases, "--check-head", str(path)).exit_code == 1
    assert run_verify(databases, "--check-head", str(tmp_path / "none")).exit_code == 2
