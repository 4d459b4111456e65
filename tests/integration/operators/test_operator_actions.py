"""Every action of an operator on every reason for a dead letter leaves the books whole, and one of them ends it.

Each row of the table makes a dead letter of one reason and says what the user's wallet holds once an action was taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from app.core.decision import Reason
from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.services.operators import redrive, resolve
from app.services.verification import prove
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.operators.dead_letter_cases import (
    OperatorScene,
    call_attempts_exhausted,
    call_refused_of_a_payment_that_completed,
    close_refused,
    create_refused,
    currency_mismatch,
    declined_there,
    failure_of_another_reference,
    late,
    less_than_before,
    less_there,
    missing_here,
    missing_there,
    more_there,
    other_currency_there,
    overpaid,
    paid_and_missing_there,
    paid_there,
    payment_of_another_provider,
    poll_refused,
    refund_of_another_reference,
    refund_of_money_that_never_came,
    refund_of_too_much,
    second_payment,
    success_of_another_reference,
    underpaid,
    underpaid_by_a_poll,
    unknown_payment,
    unusable,
    webhook_attempts_exhausted,
)
from tests.integration.operators.moved_money_cases import (
    money_again_without_its_reversal,
    raised,
    refund_calls_exhausted,
    refund_that_the_adapter_cannot_make,
    reversed_only_here,
)
from tests.support.engine import Engine
from tests.support.repository import ROOT


@dataclass(frozen=True)
class Row:
    """How a dead letter comes to be, and what the wallet holds after each action; 0 where nothing is said."""

    make: Callable[[OperatorScene], Payment]
    reason: str
    balances: dict[str, int] = field(default_factory=dict)


PAID = dict.fromkeys(("accept", "reject", "redrive", "replay"), 2500)
TABLE = (
    Row(unusable, "unusable"),
    Row(unknown_payment, "unknown_payment"),
    Row(payment_of_another_provider, "unknown_payment"),
    Row(webhook_attempts_exhausted, "attempts_exhausted", {"redrive": 2500, "replay": 2500}),
    Row(underpaid, "underpaid", {"accept": 1000}),
    Row(overpaid, "overpaid", {"accept": 3000}),
    Row(currency_mismatch, "currency_mismatch", {"accept": 2500}),
    Row(underpaid_by_a_poll, "underpaid", {"accept": 1000}),
    Row(late, "late", {"accept": 2500}),
    Row(second_payment, "second_payment", PAID | {"accept": 5000}),
    Row(less_than_before, "second_payment", PAID),
    Row(success_of_another_reference, "reference_mismatch", {"accept": 2500}),
    Row(failure_of_another_reference, "reference_mismatch"),
    Row(refund_of_too_much, "reversal", PAID | {"accept": -1}),
    Row(refund_of_another_reference, "reversal", PAID | {"accept": 0}),
    Row(refund_of_money_that_never_came, "reversal"),
    Row(create_refused, "provider_refused_us"),
    Row(poll_refused, "provider_refused_us"),
    Row(close_refused, "provider_refused_us"),
    Row(call_attempts_exhausted, "attempts_exhausted"),
    Row(call_refused_of_a_payment_that_completed, "provider_refused_us", PAID),
    Row(missing_here, "missing_here"),
    Row(missing_there, "missing_there"),
    Row(paid_and_missing_there, "missing_there", PAID | {"accept": 0}),
    Row(less_there, "amount", PAID | {"accept": 2400}),
    Row(more_there, "amount", PAID),
    Row(other_currency_there, "currency", PAID | {"accept": 0}),
    Row(declined_there, "state", PAID | {"accept": 0}),
    Row(paid_there, "state", {"redrive": 2500}),
    Row(reversed_only_here, "movement", dict.fromkeys(PAID, 1800) | {"accept": 2500}),
    Row(money_again_without_its_reversal, "reinstatement", PAID),
    Row(refund_calls_exhausted, "refund", PAID | {"accept": 1500, "redrive": 1500}),
    Row(refund_that_the_adapter_cannot_make, "suspense", {"accept": 2500}),
    Row(raised, "raised", {"redrive": 2500, "replay": 2500}),
)


def act(scene: OperatorScene, action: str, letter: dict[str, Any]) -> None:
    """Do it by the service that the API and the command line call; what cannot be done is refused with 409."""
    runtime, tenant_id = scene.shop.runtime, scene.shop.tenant_id
    try:
        if action == "replay":
            redrive.replay_webhook(runtime, tenant_id, letter["webhook_id"], ACTOR)
        elif action == "redrive":
            redrive.redrive(runtime, tenant_id, letter["id"], ACTOR)
        else:
            decide = resolve.accept if action == "accept" else resolve.reject
            decide(runtime, tenant_id, letter["id"], ACTOR)
    except RequestRejected as rejection:
        if rejection.status != 409:
            raise


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.make.__name__)
def test_every_action_leaves_the_books_whole_and_one_ends_it(front: Stack, row: Row) -> None:
    engine, ended = Engine(front.runtime, front.databases), set()
    for action in ("redrive", "replay", "accept", "reject"):
        scene = OperatorScene(front, engine, front.make_shop())
        payment = row.make(scene)
        letters = front.databases.rows("select * from dead_letters where tenant_id = :id", id=scene.shop.tenant_id)
        assert {(letter["reason"], letter["state"]) for letter in letters} == {(row.reason, "open")}
        if action == "replay" and letters[0]["webhook_id"] is None:
            continue
        act(scene, action, letters[0])
        scene.work()
        report = prove(front.runtime.database, "full", scene.shop.tenant_id)
        assert report.is_whole, (action, report.as_json())
        assert balance(scene, payment) == row.balances.get(action, 0), action
        state = front.databases.value("select state from dead_letters where id = :id", id=letters[0]["id"])
        if state != "open":
            ended.add(action)
    assert ended, "no action ends it"


def test_every_reason_has_a_row_here_and_in_the_manual() -> None:
    """The type checker holds every reason in the code to `Reason`."""
    manual = (ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")
    section = manual.partition("\n### By reason\n")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert set(described) == set(get_args(Reason))
    assert {row.reason for row in TABLE} == set(get_args(Reason))


def balance(scene: OperatorScene, payment: Payment) -> int:
    """Minor units in all of the user's wallets."""
    query = "select coalesce(sum(balance_minor), 0)::bigint from wallets where tenant_id = :tenant and user_id = :user"
    return int(scene.front.databases.value(query, tenant=scene.shop.tenant_id, user=payment.user_id))


def test_rows_that_earlier_redrives_wrote_pass(front: Stack, engine: Engine, shop: Shop) -> None:
    """Audit rows cannot be mended: a null for the webhook, and a webhook that another provider sent."""
    scene = OperatorScene(front, engine, shop)
    payment = payment_of_another_provider(scene)
    (letter,) = front.databases.rows("select * from dead_letters where tenant_id = :id", id=shop.tenant_id)
    for webhook_id in (None, str(letter["webhook_id"])):
        front.databases.rows(
            "insert into audit_logs (tenant_id, actor, kind, payment_id, detail) values"
            " (:tenant, 'operator:test', 'dead_letter_redriven', :payment, cast(:detail as jsonb))",
            tenant=shop.tenant_id,
            payment=payment.id,
            detail=json.dumps({"reason": letter["reason"], "webhook_id": webhook_id}),
        )
    engine.number()
    report = prove(front.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_a_payment_keeps_clear_of_another_providers_webhook(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = payment_of_another_provider(OperatorScene(front, engine, shop))
    assert engine.dead_letters(payment.id) == []
    assert engine.verdicts(payment.id) == []
    (letter,) = front.databases.rows("select * from dead_letters where tenant_id = :id", id=shop.tenant_id)
    assert (letter["payment_id"], letter["webhook_id"] is None) == (None, False)
