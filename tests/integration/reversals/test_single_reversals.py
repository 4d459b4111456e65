"""Money that goes back and comes again in single steps with ids: each has its effect once."""

from __future__ import annotations

import datetime

import pytest

from app.core.errors import RequestRejected
from app.services.operators import resolve
from app.services.upkeep import sweep
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.reversals.single_reversals import SingleScene, open_scene
from tests.support.commands import Commands


@pytest.fixture
def scene(front: Stack, shop: Shop) -> SingleScene:
    return open_scene(front, shop)


def test_each_movement_is_booked_once_and_what_came_again_is_not_reversed_any_more(scene: SingleScene) -> None:
    scene.success()
    for _ in range(2):
        scene.moved("reversed", "re_a", 1000)
        scene.moved("reversed", "re_b", 500)
    assert (scene.balance, scene.shown_payment.reversed_minor) == (1000, 1500)
    for _ in range(2):
        scene.moved("reinstated", "re_a", 1000)
    after = scene.shown_payment
    assert (scene.balance, after.reversed_minor, after.exception) == (2000, 500, "reversed")
    scene.moved("reinstated", "re_b", 500)
    after = scene.shown_payment
    assert (scene.balance, after.reversed_minor, after.exception, after.status) == (2500, 0, None, "completed")
    assert scene.posted == [
        *(("deposit", 2500), ("reinstatement", 500), ("reinstatement", 1000)),
        *(("reversal", 500), ("reversal", 1000)),
    ]
    verdicts = [verdict for _, verdict in scene.engine.verdicts(scene.payment.id)]
    assert verdicts == ["applied"] * 3 + ["duplicate"] * 2 + ["applied", "duplicate", "applied"]
    scene.prove()


def test_the_same_id_with_another_amount_moves_nothing(scene: SingleScene) -> None:
    scene.success()
    scene.moved("reversed", "re_a", 1000)
    scene.moved("reversed", "re_a", 900)
    assert (scene.balance, scene.shown_payment.exception) == (1500, "conflict")
    assert scene.engine.verdicts(scene.payment.id)[-1] == ("processed", "conflict")
    scene.prove()


def test_movements_that_overtake_their_money_wait_for_it(scene: SingleScene) -> None:
    scene.moved("reinstated", "re_a", 1000)
    scene.moved("reversed", "re_b", 2000)
    scene.moved("reversed", "re_a", 1000)
    assert scene.posted == []
    scene.success()
    assert (scene.balance, scene.shown_payment.reversed_minor) == (500, 2000)
    assert scene.engine.dead_letters(scene.payment.id) == []
    scene.prove()


def test_a_reversal_beyond_the_credit_is_booked_once_what_came_again_makes_up_for_it(scene: SingleScene) -> None:
    scene.success()
    scene.moved("reversed", "re_b", 2500)
    scene.moved("reversed", "re_a", 2500)
    assert (scene.balance, scene.engine.dead_letters(scene.payment.id)) == (0, [("reversal", "open")])
    scene.moved("reinstated", "re_a", 2500)
    assert (scene.balance, scene.shown_payment.reversed_minor) == (0, 2500)
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "superseded")]
    scene.prove()


def test_what_waits_in_vain_is_a_dead_letter_when_its_time_is_over(scene: SingleScene) -> None:
    scene.success()
    webhook_id = scene.moved("reinstated", "re_a", 1000)
    sweep.housekeep(scene.shop.runtime)
    assert scene.engine.dead_letters(scene.payment.id) == []
    rows = scene.engine.databases.rows
    rows("update payment_movements set due_at = now() where payment_id = :id", id=scene.payment.id)
    for _ in range(2):
        sweep.housekeep(scene.shop.runtime)
    (letter,) = rows("select * from dead_letters where payment_id = :id", id=scene.payment.id)
    assert (letter["reason"], letter["state"], letter["webhook_id"]) == ("reinstatement", "open", webhook_id)
    alarms = "select count(*) from alerts where tenant_id = :id and kind = 'reinstatement_held'"
    assert scene.engine.databases.value(alarms, id=scene.shop.tenant_id) == 1
    # Its reversal comes all the same: both are booked, and nobody has to decide.
    scene.moved("reversed", "re_a", 1000)
    assert (scene.balance, scene.engine.dead_letters(scene.payment.id)) == (2500, [("reinstatement", "superseded")])
    scene.prove()


def test_a_dispute_is_a_mark_and_an_event_and_moves_nothing(scene: SingleScene) -> None:
    scene.success()
    until = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
    about = {"dispute_id": "dp_1", "reason": "fraudulent", "evidence_due_at": until.isoformat()}
    for _ in range(2):
        scene.webhook("dispute", dispute_state="opened", **about)
    assert (scene.balance, scene.shown_payment.exception) == (2500, "disputed")
    scene.webhook("dispute", dispute_id="dp_1", dispute_state="won")
    scene.webhook("dispute", dispute_state="opened", **about)
    assert (scene.balance, scene.shown_payment.exception) == (2500, None)
    scene.engine.number()
    disputed = "select type, about from notifications where payment_id = :id and type = 'payment.disputed' order by id"
    events = [row["about"]["dispute"] for row in scene.engine.databases.rows(disputed, id=scene.payment.id)]
    assert [(one["id"], one["status"], one["reason"]) for one in events] == [
        ("dp_1", "opened", "fraudulent"),
        ("dp_1", "won", "fraudulent"),
    ]
    assert events[0]["evidence_due_at"] == "2030-01-31T12:00:00.000000Z"
    assert events[0]["closed_at"] is None
    assert events[1]["closed_at"] is not None
    alarms = "select count(*) from alerts where tenant_id = :id and kind = 'payment_disputed'"
    assert scene.engine.databases.value(alarms, id=scene.shop.tenant_id) == 1
    scene.prove()


@pytest.mark.parametrize("first", ["webhook", "poll", "list"])
def test_a_movement_is_booked_once_whichever_channel_reports_it_first(scene: SingleScene, first: str) -> None:
    scene.pay()
    scene.success()
    scene.show("reversed", "re_a", 1000)
    scene.show("reversed", "re_b", 500)
    scene.show("reinstated", "re_a", 1000)
    channels = {
        "webhook": lambda: [scene.moved(*each) for each in (("reinstated", "re_a", 1000), ("reversed", "re_b", 500))],
        "poll": scene.poll,
        "list": scene.list,
    }
    for channel in (first, *(channels.keys() - {first}), first):
        channels[channel]()
    assert (scene.balance, scene.shown_payment.reversed_minor) == (2000, 500)
    assert [kind for kind, _ in scene.posted] == ["deposit", "reinstatement", "reversal", "reversal"]
    assert scene.engine.dead_letters(scene.payment.id) == []
    scene.prove()


@pytest.mark.parametrize("first", ["webhook", "poll", "list"])
def test_a_dispute_is_marked_once_whichever_channel_reports_it_first(scene: SingleScene, first: str) -> None:
    scene.pay()
    scene.success()
    channels = {
        "webhook": lambda: scene.webhook("dispute", dispute_id="dp_1", dispute_state="opened", reason="fraudulent"),
        "poll": scene.poll,
        "list": scene.list,
    }
    scene.show_dispute("opened", "fraudulent")
    for channel in (first, *(channels.keys() - {first}), first):
        channels[channel]()
        assert scene.shown_payment.exception == "disputed"
    scene.show_dispute("won")
    channels["poll" if first == "webhook" else first]()
    for channel in ("webhook", "list", "poll"):
        channels[channel]()
    rows = scene.engine.databases.rows(
        "select state, reason from payment_disputes where payment_id = :id", id=scene.payment.id
    )
    assert [tuple(row.values()) for row in rows] == [("won", "fraudulent")]
    kinds = scene.engine.databases.rows("select kind from alerts where tenant_id = :id", id=scene.shop.tenant_id)
    assert [row["kind"] for row in kinds] == ["payment_disputed"]
    assert (scene.balance, scene.shown_payment.exception, scene.list().differences) == (2500, None, [])
    scene.prove()


def test_a_dispute_that_is_known_costs_the_next_list_no_settlement(scene: SingleScene) -> None:
    scene.pay()
    scene.success()
    scene.show_dispute("opened")
    assert [scene.list().settled for _ in range(2)] == [1, 0]
    scene.engine.settle()
    query = "select count(*) from audit_logs where payment_id = :id"
    before = scene.engine.databases.value(query, id=scene.payment.id)
    scene.list()
    assert scene.engine.databases.value(query, id=scene.payment.id) == before


def test_a_movement_that_the_list_does_not_show_is_a_difference(scene: SingleScene) -> None:
    scene.pay()
    scene.success()
    scene.moved("reversed", "re_a", 1000)
    (difference,) = scene.list().differences
    assert (difference.reason, difference.detail) == ("movement", "reversed 10.00 USD (re_a) here, not there")
    assert scene.balance == 1500
    scene.show("reversed", "re_a", 1000)
    assert scene.list().closed == 1


def test_a_form_that_the_adapter_does_not_declare_only_has_the_provider_asked(scene: SingleScene) -> None:
    scene.pay()
    scene.success()
    scene.webhook("refunded", amount_minor=1000, currency="USD")
    assert (scene.balance, scene.engine.action(scene.payment.id)) == (2500, "poll")
    scene.show("reversed", "re_a", 1000)
    scene.engine.call()
    assert (scene.balance, scene.engine.action(scene.payment.id)) == (1500, None)


def decide(scene: SingleScene, verb: str) -> str:
    """Accept or reject the open dead letter; return the effect."""
    query = "select id from dead_letters where payment_id = :id and state = 'open'"
    case = scene.engine.databases.value(query, id=scene.payment.id)
    return str(getattr(resolve, verb)(scene.shop.runtime, scene.shop.tenant_id, case, ACTOR))


@pytest.mark.parametrize(("minor", "currency"), [(3000, "USD"), (1000, "EUR")])
def test_a_person_books_a_reversal_that_does_not_fit(scene: SingleScene, minor: int, currency: str) -> None:
    scene.success()
    scene.moved("reversed", "re_a", minor, currency)
    assert "reversal of" in decide(scene, "accept")
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "accepted")]
    after = scene.shown_payment
    assert (after.exception, after.reversed_minor) == ("reversed", minor if currency == "USD" else 0)
    scene.moved("reversed", "re_a", minor, currency)
    assert (scene.balance, scene.engine.verdicts(scene.payment.id)[-1]) == (2500 - minor, ("processed", "duplicate"))
    scene.prove()
    scene.moved("reinstated", "re_a", minor, currency)
    assert (scene.balance, scene.shown_payment.exception) == (2500, None)
    scene.prove()


def test_a_person_rejects_a_reversal_for_good(scene: SingleScene) -> None:
    scene.success()
    scene.moved("reversed", "re_b", 2500)
    scene.moved("reversed", "re_a", 1000)
    decide(scene, "reject")
    scene.moved("reinstated", "re_b", 2500)
    scene.moved("reinstated", "re_a", 1000)
    assert scene.balance == 2500
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "rejected")]
    scene.prove()


def test_money_that_was_never_credited_cannot_be_booked_back(scene: SingleScene) -> None:
    scene.moved("reversed", "re_a", 1000, reference="another")
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "open")]
    with pytest.raises(RequestRejected) as refused:
        decide(scene, "accept")
    assert refused.value.status == 409
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "open")]
    decide(scene, "reject")
    scene.success()
    assert scene.balance == 2500
    scene.prove()


def test_its_story_says_in_words_what_went_back_and_came_again(scene: SingleScene) -> None:
    scene.success()
    scene.webhook("dispute", dispute_id="dp_1", dispute_state="opened", reason="fraudulent")
    scene.moved("reversed", "dp_1", 2500)
    scene.moved("reversed", "re_a", 100)
    scene.moved("reinstated", "dp_1", 2500)
    scene.webhook("dispute", dispute_id="dp_1", dispute_state="won")
    said = Commands(scene.front.databases).run("payments", "explain", str(scene.payment.id)).stdout
    words = " ".join(said.split())
    for part in (
        "Gone back to the payer: 1.00 USD.",
        "the payer disputes the payment",
        "the provider took money back",
        "gets 25.00 USD again, which had gone back",
        "the dispute was won: the money stays",
    ):
        assert part in words, said
