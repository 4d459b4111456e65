"""A person has the books follow what the provider shows: once, by no more than differs, and what comes later fits."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from app.core.errors import RequestRejected
from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.services.operators import reconciliation, redrive, resolve
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.verification import prove
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.operators.dead_letter_cases import OperatorScene
from tests.integration.operators.test_reconciliation import HOUR, cases_of, create, run
from tests.support.clients.api import Api
from tests.support.engine import Engine
from tests.support.mollie_provider import make_mollie


@pytest.fixture
def scene(front: Stack, engine: Engine, shop: Shop) -> OperatorScene:
    return OperatorScene(front, engine, shop)


def show(scene: OperatorScene, payment: Payment, **fields: Any) -> None:
    """Have the provider show the payment so from now on."""
    scene.front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"show": fields})


def open_letter(scene: OperatorScene, payment: Payment) -> dict[str, Any]:
    query = "select * from dead_letters where payment_id = :id and state = 'open'"
    (letter,) = scene.front.databases.rows(query, id=payment.id)
    return letter


def accept(scene: OperatorScene, letter: dict[str, Any], *, is_dry_run: bool = False) -> str:
    return resolve.accept(scene.shop.runtime, scene.shop.tenant_id, letter["id"], ACTOR, is_dry_run)


def wallet(scene: OperatorScene, payment: Payment) -> list[int]:
    """Return what moved in the user's wallet, in minor units."""
    return [minor for kind, minor in scene.engine.entries(payment.id) if kind == "user"]


def assert_whole(scene: OperatorScene) -> None:
    scene.engine.number()
    report = prove(scene.front.runtime.database, "full", scene.shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_less_at_the_provider_is_taken_back_and_later_refunds_of_it_fit(scene: OperatorScene, api: Api) -> None:
    payment = scene.paid()
    less = {"status": "paid", "received_amount": "20.00", "received_currency": "USD"}
    show(scene, payment, **less)
    assert [one.reason for one in run(scene.shop).differences] == ["amount"]
    letter = open_letter(scene, payment)
    shown = api.get(f"/api/dead-letters/{letter['id']}").json()
    assert (shown["amount"], shown["amount_minor"], shown["currency"]) == ("-5.00", -500, "USD")
    assert "reversal of 5.00 USD" in accept(scene, letter, is_dry_run=True)
    accept(scene, letter)
    assert wallet(scene, payment) == [2500, -500]
    # What the provider shows is now what is here, and its own word about it nothing new.
    assert (run(scene.shop).differences, scene.shop.payment(payment.id).reversed_minor) == ([], 500)
    scene.deliver(payment, amount="20.00")
    assert (wallet(scene, payment), scene.shop.payment(payment.id).exception) == ([2500, -500], "reversed")
    for total, left in (("15.00", 500), ("20.00", 0)):
        scene.refund(payment, total)
        show(scene, payment, **less, refunded_amount=total)
        assert (run(scene.shop).differences, sum(wallet(scene, payment))) == ([], left)
    assert cases_of(scene.engine, scene.shop) == [("amount", "accepted")]
    assert_whole(scene)


def test_no_more_is_taken_back_than_is_left(scene: OperatorScene) -> None:
    payment = scene.paid()
    show(scene, payment, status="declined")
    run(scene.shop)
    letter = open_letter(scene, payment)
    assert letter["amount_minor"] == -2500
    scene.refund(payment, "10.00")
    accept(scene, letter)
    assert wallet(scene, payment) == [2500, -1000, -1500]
    assert run(scene.shop).differences == []
    assert_whole(scene)


def test_a_correction_that_is_no_accepted_difference_is_found(scene: OperatorScene) -> None:
    payment = scene.paid()
    show(scene, payment, status="declined")
    run(scene.shop)
    letter = open_letter(scene, payment)
    accept(scene, letter)
    statement = (
        "every accepted difference is corrected, by no more than it holds, and every correction is an accepted one"
    )
    for state, amount_minor in (("rejected", -2500), ("accepted", -100), ("accepted", 2500)):
        spoil = "update dead_letters set state = :state, amount_minor = :minor where id = :id"
        scene.front.databases.rows(spoil, state=state, minor=amount_minor, id=letter["id"])
        report = prove(scene.front.runtime.database, "full", scene.shop.tenant_id)
        assert ("I3", statement) in report.broken, (state, amount_minor)


def test_a_case_whose_money_has_gone_back_meanwhile_is_refused(scene: OperatorScene) -> None:
    payment = scene.paid()
    show(scene, payment, status="declined")
    run(scene.shop)
    letter = open_letter(scene, payment)
    scene.refund(payment, "25.00")
    with pytest.raises(RequestRejected, match="nothing of it is left") as refused:
        accept(scene, letter)
    assert (refused.value.status, open_letter(scene, payment)["id"]) == (409, letter["id"])
    resolve.reject(scene.shop.runtime, scene.shop.tenant_id, letter["id"], ACTOR)
    assert wallet(scene, payment) == [2500, -2500]
    assert_whole(scene)


def test_two_differences_of_one_payment_are_not_both_corrected(scene: OperatorScene) -> None:
    payment = scene.paid()
    show(scene, payment, status="paid", received_amount="20.00", received_currency="USD")
    run(scene.shop)
    first = open_letter(scene, payment)
    # As if a run that began before had opened it: the next one would close the first.
    scene.front.databases.rows("update dead_letters set state = 'superseded' where id = :id", id=first["id"])
    show(scene, payment, status="declined")
    run(scene.shop)
    second = open_letter(scene, payment)
    scene.front.databases.rows("update dead_letters set state = 'open' where id = :id", id=first["id"])
    accept(scene, second)
    with pytest.raises(RequestRejected, match="not open any more: superseded"):
        accept(scene, first)
    assert wallet(scene, payment) == [2500, -2500]
    assert_whole(scene)


def test_what_was_taken_back_is_given_again_once_the_provider_shows_it(scene: OperatorScene) -> None:
    payment = scene.paid()
    show(scene, payment, status="declined")
    run(scene.shop)
    accept(scene, open_letter(scene, payment))
    show(scene, payment, status="paid", received_amount="25.00", received_currency="USD")
    (difference,) = run(scene.shop).differences
    letter = open_letter(scene, payment)
    assert (difference.reason, letter["amount_minor"]) == ("amount", 2500)
    accept(scene, letter)
    after = scene.shop.payment(payment.id)
    assert (wallet(scene, payment), after.reversed_minor, after.exception) == ([2500, -2500, 2500], 0, None)
    assert run(scene.shop).differences == []
    assert_whole(scene)


def test_a_case_without_money_says_what_ends_it(scene: OperatorScene) -> None:
    payment = scene.paid()
    show(scene, payment, status="paid", received_amount="26.00", received_currency="USD")
    run(scene.shop)
    letter = open_letter(scene, payment)
    with pytest.raises(RequestRejected, match="Redrive it: the provider is asked"):
        accept(scene, letter)
    # The answer opens a case of the money, which can be accepted.
    redrive.redrive(scene.shop.runtime, scene.shop.tenant_id, letter["id"], ACTOR)
    scene.engine.ask(payment.id)
    found = {
        one["reason"]: one
        for one in scene.front.databases.rows(
            "select * from dead_letters where payment_id = :id and state = 'open'", id=payment.id
        )
    }
    accept(scene, found["second_payment"])
    assert wallet(scene, payment) == [2500, 100]
    assert run(scene.shop).differences == []
    assert cases_of(scene.engine, scene.shop) == [("amount", "superseded")]
    assert_whole(scene)


def test_a_reversal_that_the_provider_does_not_show_is_given_again(scene: OperatorScene) -> None:
    mollie = make_mollie(scene.front, scene.shop)
    payment = mollie.deposit()
    scene.front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    scene.engine.call()
    scene.front.sandbox.happen(payment.id, "pay")
    scene.engine.ask(payment.id)
    lost = Fact(FactKind.REVERSED, None, amount_minor=700, currency="EUR", reversal_id="re_not_there")
    with settlement.open(scene.shop.runtime, "clerk", scene.shop.tenant_id) as batch:
        batch.settle([Item(payment.tenant_id, payment.id, lost, f"provider:{mollie.id}", mollie.id)])
    assert wallet(scene, payment) == [2500, -700]
    now = datetime.datetime.now(datetime.UTC)
    period = (mollie.id, now - HOUR, now + HOUR, ACTOR)
    assert [one.reason for one in reconciliation.reconcile(scene.shop.runtime, *period).differences] == ["movement"]
    letter = open_letter(scene, payment)
    assert letter["amount_minor"] == 700
    accept(scene, letter)
    after = scene.shop.payment(payment.id)
    assert (wallet(scene, payment), after.reversed_minor, after.exception) == ([2500, -700, 700], 0, None)
    assert reconciliation.reconcile(scene.shop.runtime, *period).differences == []
    # A refund that the provider does show has all of the credit left.
    scene.front.sandbox.happen(payment.id, "refund", amount="25.00")
    assert reconciliation.reconcile(scene.shop.runtime, *period).settled == 1
    assert wallet(scene, payment) == [2500, -700, 700, -2500]
    assert_whole(scene)


def test_money_under_another_reference_that_only_the_list_has_can_be_accepted(scene: OperatorScene) -> None:
    payment = scene.paid()
    order: dict[str, Any] = {"amount": "25.00", "currency": "USD", "merchant_reference": str(payment.id)}
    order |= {"callback_urls": {}, "metadata": {}, "expires_at": None, "success_url": None, "failure_url": None}
    second = create(scene.front, scene.shop, order, key=uuid.uuid4().hex)
    assert [one.reason for one in run(scene.shop).differences if one.reference == second] == ["missing_here"]
    scene.front.sandbox.act(second, "pay")
    assert [one for one in run(scene.shop).differences if one.reference == second] == []
    query = "select * from dead_letters where payment_id = :id and state = 'open' and reason = 'second_payment'"
    (letter,) = scene.front.databases.rows(query, id=payment.id)
    assert (letter["amount_minor"], letter["case_reference"]) == (2500, second)
    accept(scene, letter)
    assert wallet(scene, payment) == [2500, 2500]
    assert_whole(scene)
