"""Debits: a wallet is spent once for each key, never beyond what it has available, and given back once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.errors import RequestRejected
from app.services.payments import refunds
from app.services.payments.refunds import RefundRequest
from app.services.tenants import policies
from app.services.verification import prove
from testbed.shop import ACTOR, Shop
from tests.integration.debits.debit_requests import (
    check_books,
    count_debits,
    credit,
    end_refunds,
    give_back,
    take,
    wallet,
)
from tests.support.books import name_reference
from tests.support.commands import Commands
from tests.support.engine import Engine


def try_take(shop: Shop, amount: str, key: str | None = None, user_id: str = "ann") -> int:
    """Return the status of a debit that is asked for."""
    try:
        take(shop, amount, key, user_id)
    except RequestRejected as refused:
        return refused.status
    return 201


def test_a_debit_moves_money_into_the_spending_wallet(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    made = take(shop, "10.00")
    assert wallet(shop) == (1500, 0, 1500)
    legs = (
        "select w.kind, e.direction * e.amount_minor as minor, e.type, e.payment_id is null as is_of_no_payment"
        " from wallet_transactions e join wallets w on w.id = e.wallet_id where e.debit_id = :id order by w.kind"
    )
    assert [tuple(row.values()) for row in engine.databases.rows(legs, id=made.debit["id"])] == [
        ("spending", 1000, "debit", True),
        ("user", -1000, "debit", True),
    ]
    audited = "select actor, kind from audit_logs where tenant_id = :id and kind like 'debit%'"
    assert [tuple(row.values()) for row in engine.databases.rows(audited, id=shop.tenant_id)] == [
        (ACTOR, "debit_created")
    ]
    check_books(engine, shop)


@pytest.mark.parametrize("policy", ["allow", "hold"])
def test_a_debit_takes_no_more_than_is_available(engine: Engine, shop: Shop, policy: str) -> None:
    policies.change_policy(shop.runtime, shop.tenant_id, {"negative_policy": policy}, ACTOR)
    payment = credit(engine, shop)
    wanted = RefundRequest(payment.id, "10.00", None, None, "refund", bytes(32))
    refunds.ask_refund(shop.runtime, shop.tenant_id, wanted, ACTOR)
    assert wallet(shop) == (2500, 1000, 1500)
    with pytest.raises(RequestRejected) as refused:
        take(shop, "15.01", "kept")
    assert (refused.value.status, refused.value.code) == (409, "insufficient_funds")
    assert "15.00 USD available" in str(refused.value)
    # A refusal uses no key up.
    assert not take(shop, "15.00", "kept").is_replayed
    assert wallet(shop) == (1000, 1000, 0)
    assert try_take(shop, "0.01") == 409
    assert try_take(shop, "0.01", user_id="nobody") == 409
    check_books(engine, shop)
    end_refunds(engine, shop)


def test_a_key_is_of_one_debit(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    credit(engine, shop, "bob")
    begin = threading.Barrier(8)

    def try_it(_: int) -> tuple[str, bool]:
        begin.wait()
        made = take(shop, "10.00", "same")
        return made.debit["id"], made.is_replayed

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(try_it, range(8)))
    assert len({debit_id for debit_id, _ in made}) == 1
    assert sorted(is_replayed for _, is_replayed in made) == [False] + [True] * 7
    for other in (("11.00", "ann"), ("10.00", "bob")):
        with pytest.raises(RequestRejected) as refused:
            take(shop, other[0], "same", other[1])
        assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
    assert wallet(shop) == (1500, 0, 1500)
    check_books(engine, shop)


def test_debits_that_the_wallet_cannot_repeat_are_replayed(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    made = take(shop, "25.00", "all")
    again = take(shop, "25.00", "all")
    assert (again.is_replayed, again.debit) == (True, made.debit)
    assert wallet(shop) == (0, 0, 0)


def test_a_reversal_that_is_repeated_later_is_refused(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    made = take(shop, "10.00")
    give_back(shop, made)
    balances = engine.databases.rows(
        "select balance_minor, version from wallets where tenant_id = :id", id=shop.tenant_id
    )
    with pytest.raises(RequestRejected) as refused:
        give_back(shop, made)
    assert (refused.value.status, refused.value.code) == (409, "debit_reversed")
    again = engine.databases.rows("select balance_minor, version from wallets where tenant_id = :id", id=shop.tenant_id)
    assert again == balances


def test_a_key_that_two_users_race_for_is_of_one_debit(engine: Engine, shop: Shop) -> None:
    users = [f"user-{number}" for number in range(6)]
    for user in users:
        credit(engine, shop, user)
    begin = threading.Barrier(len(users))

    def try_it(user: str) -> int:
        begin.wait()
        return try_take(shop, "10.00", "same", user)

    with ThreadPoolExecutor(len(users)) as threads:
        answers = sorted(threads.map(try_it, users))
    assert answers == [201] + [422] * 5
    assert count_debits(engine, shop) == 1
    check_books(engine, shop)


def test_parallel_debits_never_take_more_than_is_available(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    begin = threading.Barrier(24)

    def try_it(_: int) -> int:
        begin.wait()
        return try_take(shop, "3.00")

    with ThreadPoolExecutor(24) as threads:
        answers = sorted(threads.map(try_it, range(24)))
    assert answers == [201] * 8 + [409] * 16
    assert wallet(shop) == (100, 0, 100)
    check_books(engine, shop)


def test_debits_and_refunds_share_what_is_available(engine: Engine, shop: Shop) -> None:
    policies.change_policy(shop.runtime, shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
    payment = credit(engine, shop)
    begin = threading.Barrier(12)

    def try_it(number: int) -> int:
        begin.wait()
        if number % 2:
            return try_take(shop, "5.00")
        wanted = RefundRequest(payment.id, "5.00", None, None, f"refund-{number}", bytes(32))
        try:
            refunds.ask_refund(shop.runtime, shop.tenant_id, wanted, ACTOR)
        except RequestRejected as refused:
            return refused.status
        return 202

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(try_it, range(12)))
    assert sorted(status == 409 for status in answers) == [False] * 5 + [True] * 7
    balance, held, available = wallet(shop)
    assert (available, balance + 500 * answers.count(201)) == (0, 2500)
    assert held == 500 * answers.count(202)
    check_books(engine, shop)
    end_refunds(engine, shop)


def test_debits_race_with_a_chargeback(engine: Engine, shop: Shop) -> None:
    payment = credit(engine, shop)
    shop.deliver_refund(shop.payment(payment.id), provider_reference=name_reference(payment))
    begin = threading.Barrier(7)

    def try_it(number: int) -> int:
        begin.wait()
        if number == 0:
            engine.settle()
            return 0
        return try_take(shop, "5.00")

    with ThreadPoolExecutor(7) as threads:
        answers = list(threads.map(try_it, range(7)))
    # What the provider takes back is booked, whatever was spent before; nothing is spent that is not there.
    assert wallet(shop)[0] == -500 * answers.count(201)
    assert try_take(shop, "0.01") == 409
    alarms = "select count(*) from alerts where tenant_id = :id and kind = 'wallet_negative'"
    assert engine.databases.value(alarms, id=shop.tenant_id) == (1 if 201 in answers else 0)
    check_books(engine, shop)


def test_the_next_deposit_sets_a_wallet_right(engine: Engine, shop: Shop) -> None:
    payment = credit(engine, shop)
    take(shop, "20.00")
    shop.deliver_refund(shop.payment(payment.id), provider_reference=name_reference(payment))
    engine.settle()
    assert wallet(shop) == (-2000, 0, -2000)
    explained = Commands(engine.databases)
    story = explained.text("payments", "explain", str(payment.id))
    assert "The user's wallet gets -25.00 USD (reversal); its balance is -20.00 USD, below zero" in story
    assert "no longer below zero" not in story
    again = credit(engine, shop)
    story = explained.text("payments", "explain", str(payment.id))
    assert f"no longer below zero: a deposit (payment {again.id}) sets it right; its balance is 5.00 USD" in story
    assert wallet(shop) == (500, 0, 500)
    assert (try_take(shop, "5.01"), try_take(shop, "5.00")) == (409, 201)
    check_books(engine, shop)


def test_a_debit_is_reversed_once(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    made = take(shop, "10.00")
    begin = threading.Barrier(8)

    def try_it(_: int) -> str | None:
        begin.wait()
        try:
            give_back(shop, made, "cancelled")
        except RequestRejected as refused:
            return refused.code
        return None

    with ThreadPoolExecutor(8) as threads:
        answers = sorted(str(code) for code in threads.map(try_it, range(8)))
    assert answers == ["None"] + ["debit_reversed"] * 7
    assert wallet(shop) == (2500, 0, 2500)
    assert take(shop, "25.00").debit["entry"]["balance_after"] == "0.00"
    check_books(engine, shop)


def test_an_incremental_proof_reads_the_debits_of_new_seals(engine: Engine, shop: Shop) -> None:
    credit(engine, shop)
    made = take(shop, "10.00")
    give_back(shop, made)
    take(shop, "1.00")
    report = prove(shop.runtime.database, "incremental", shop.tenant_id)
    assert report.is_whole, report.as_json()
    assert report.counts["debits"] == 2
    # Two transfers of the first debit, one of the second, one of the credit.
    assert report.counts["transfers"] == 4
