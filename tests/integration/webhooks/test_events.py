"""Deliveries that carry several events, name payments by the provider's ids, or only say that there is news."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.providers import Asks, Delivered, Event, Ignored, Name, Told
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import explain, queries, redrive
from app.services.webhooks.settle import ATTEMPTS_MAX
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.engine import Engine


class Gazette(SandboxAdapter):
    """A provider whose webhooks are lists of events about its own ids."""

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the provider's id in the first event."""
        return str(body["events"][0]["about"]) if body["events"] else None

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return an event for each in the list."""
        return [self._event(**event) for event in delivered.read_object()["events"]]

    def _event(
        self,
        what: str,
        about: str = "",
        id: str | None = None,
        minor: int | None = None,
        live: bool | None = None,
        foreign: bool = False,
    ) -> Event:
        if what == "news":
            return Asks(about, id)
        if what == "remark":
            return Ignored("of no interest", id)
        kind = FactKind(what)
        currency = None if minor is None else "USD"
        message = "No cover." if kind is FactKind.ATTEMPT_DECLINED else None
        fact = Fact(kind, amount_minor=minor, currency=currency, message=message, aliases=(f"{about}_charge",))
        return Told(about, fact, id, live, may_be_foreign=foreign)


@pytest.fixture
def paper(front: Stack, shop: Shop) -> Shop:
    """Provide the shop, with a provider that sends lists of events."""
    runtime = replace(shop.runtime)
    runtime.adapters["sandbox"] = Gazette(frozenset(runtime.settings.private_providers))
    return replace(shop, runtime=runtime)


@pytest.fixture
def workers(paper: Shop, front: Stack) -> Engine:
    """Provide the work of workers that know this provider."""
    return Engine(paper.runtime, front.databases)


def send(paper: Shop, *events: dict[str, Any], webhook_id: str | None = None) -> Any:
    return paper.deliver(json.dumps({"events": events}).encode(), "provider", webhook_id)


def paid(payment: Payment, **more: Any) -> dict[str, Any]:
    return {"what": "succeeded", "about": payment.provider_reference, "minor": payment.amount_minor} | more


def verdicts(workers: Engine, receipt: Any) -> tuple[str, str | None, str | None]:
    (row,) = workers.databases.rows(
        "select status, verdict, reason from payment_webhooks where id = :id", id=receipt.webhook_id
    )
    return row["status"], row["verdict"], row["reason"]


def test_one_delivery_settles_many_payments(paper: Shop, workers: Engine) -> None:
    first, second = workers.start(paper), workers.start(paper)
    receipt = send(paper, paid(first, id="ev_1"), {"what": "remark"}, paid(second, id="ev_2"))
    workers.settle()
    assert [str(paper.payment(one.id).status) for one in (first, second)] == ["completed", "completed"]
    assert verdicts(workers, receipt) == ("processed", "applied", "3 events, among them: the money arrived")
    rows = workers.databases.rows(
        "select event_id, payment_id, verdict from webhook_events where provider_id = :id order by event_id",
        id=paper.provider_id,
    )
    assert [tuple(row.values()) for row in rows] == [("ev_1", first.id, "applied"), ("ev_2", second.id, "applied")]


def test_a_delivery_is_shown_with_each_payment_that_it_settled(paper: Shop, workers: Engine) -> None:
    first, second, other = workers.start(paper), workers.start(paper), workers.start(paper)
    receipt = send(paper, paid(first, id="ev_1"), paid(second, id="ev_2"), webhook_id="batch-1")
    send(paper, paid(first, id="ev_1"), paid(second, id="ev_2"), webhook_id="batch-1")
    workers.settle()
    for payment in (first, second):
        (shown,) = queries.list_webhooks(paper.runtime, queries.ListFilters(20, payment_id=payment.id))
        assert shown["id"] == receipt.webhook_id
        events = explain.read_story(paper.runtime, payment.id)["events"]
        (webhook,) = [event["detail"] for event in events if event["kind"] == "webhook"]
        assert (webhook["webhook_id"], webhook["verdict"]) == (str(receipt.webhook_id), "applied")
        assert (webhook["external_id"], webhook["repeats"]) == ("batch-1", 1)
        kinds = [event["kind"] for event in events]
        assert kinds.index("webhook") < kinds.index("entry")
    assert queries.list_webhooks(paper.runtime, queries.ListFilters(20, payment_id=other.id)) == []
    assert "webhook" not in [event["kind"] for event in explain.read_story(paper.runtime, other.id)["events"]]


def test_an_event_is_settled_once_in_whichever_delivery_it_comes(paper: Shop, workers: Engine) -> None:
    payment = workers.start(paper)
    send(paper, paid(payment, id="ev_1"))
    workers.settle()
    again = send(paper, paid(payment, id="ev_1"), {"what": "remark", "id": "ev_2"})
    workers.settle()
    assert verdicts(workers, again) == ("processed", "duplicate", "2 events, among them: this event is settled")
    assert workers.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


def test_the_others_are_settled_while_one_waits_for_its_payment(paper: Shop, workers: Engine) -> None:
    payment, later = workers.start(paper), paper.deposit()
    receipt = send(
        paper, paid(payment, id="ev_1"), {"what": "succeeded", "about": "later", "minor": 2500, "id": "ev_2"}
    )
    workers.settle()
    assert str(paper.payment(payment.id).status) == "completed"
    assert verdicts(workers, receipt)[:2] == ("pending", None)
    # The answer that brings the name comes afterwards.
    workers.databases.rows(
        "update payment_transactions set provider_reference = 'later', status = 'processing' where id = :id",
        id=later.id,
    )
    workers.make_webhooks_due()
    workers.settle()
    assert str(paper.payment(later.id).status) == "completed"
    assert verdicts(workers, receipt)[:2] == ("processed", "applied")
    assert len(workers.entries(payment.id)) == 2


def test_a_payment_is_named_by_what_a_fact_has_brought_before(paper: Shop, workers: Engine) -> None:
    payment = workers.start(paper)
    send(paper, paid(payment))
    workers.settle()
    receipt = send(paper, {"what": "refunded", "about": f"{payment.provider_reference}_charge", "minor": 1000})
    # Its timeline has it before it is settled.
    named = "select payment_id from payment_webhooks where id = :id"
    assert workers.databases.value(named, id=receipt.webhook_id) == payment.id
    workers.settle()
    assert paper.payment(payment.id).reversed_minor == 1000


def test_the_expiry_waits_for_a_webhook_that_names_the_payment_by_its_reference(paper: Shop, workers: Engine) -> None:
    payment = workers.start(paper)
    send(paper, paid(payment))
    workers.expire(payment.id)
    workers.call()
    assert str(paper.payment(payment.id).status) == "processing"
    workers.settle()
    assert str(paper.payment(payment.id).status) == "completed"


def test_news_make_the_provider_be_asked_and_move_nothing(paper: Shop, workers: Engine) -> None:
    payment = workers.start(paper)
    ended = workers.start(paper)
    send(paper, paid(ended))
    workers.settle()
    workers.databases.rows("update payment_work set due_at = now() + interval '1 hour'")
    receipt = send(paper, {"what": "news", "about": payment.provider_reference}, {"what": "news", "about": "stranger"})
    send(paper, {"what": "news", "about": ended.provider_reference})
    workers.settle()
    assert str(paper.payment(payment.id).status) == "processing"
    due = workers.databases.rows(
        "select payment_id, action from payment_work where due_at <= now() order by payment_id"
    )
    assert [tuple(row.values()) for row in due] == sorted([(payment.id, "poll"), (ended.id, "poll")])
    assert verdicts(workers, receipt)[:2] == ("processed", "applied")


@pytest.mark.parametrize("live", [True, False])
def test_an_event_about_the_other_mode_is_no_fact(paper: Shop, workers: Engine, live: bool) -> None:
    payment = workers.start(paper)
    receipt = send(paper, paid(payment, live=live))
    workers.settle()
    expected = ("processed", "ignored") if live else ("processed", "applied")
    assert verdicts(workers, receipt)[:2] == expected
    alarms = workers.databases.rows(
        "select kind from alerts where tenant_id = :id and kind = 'webhook_of_other_mode'", id=paper.tenant_id
    )
    assert len(alarms) == live
    assert str(paper.payment(payment.id).status) == ("processing" if live else "completed")


def test_what_says_nothing_is_ignored(paper: Shop, workers: Engine) -> None:
    empty = send(paper)
    workers.settle()
    assert verdicts(workers, empty) == ("processed", "ignored", "it has no events")


def test_a_redriven_delivery_is_settled_with_all_its_events(paper: Shop, workers: Engine) -> None:
    payment = workers.start(paper)
    receipt = send(paper, paid(payment, id="ev_1"), {"what": "remark", "id": "ev_2"})
    workers.settle()
    effect = redrive.replay_webhook(paper.runtime, paper.tenant_id, receipt.webhook_id, ACTOR)
    assert effect.startswith("duplicate: the payment is completed already")
    workers.settle()
    assert verdicts(workers, receipt)[:2] == ("processed", "duplicate")
    assert len(workers.entries(payment.id)) == 2


def attempt(payment: Payment) -> dict[str, Any]:
    return {"what": "attempt_declined", "about": payment.provider_reference}


def test_a_declined_attempt_leaves_the_payment_open(paper: Shop, workers: Engine, api: Api) -> None:
    payment = workers.start(paper)
    receipt = send(paper, attempt(payment))
    workers.settle()
    shown = api.read(payment.id)
    assert (shown["status"], shown["failure_reason"], shown["last_attempt_error"]) == ("processing", None, "No cover.")
    assert shown["version"] == payment.version + 1
    reason = "an attempt to pay was declined: No cover."
    assert verdicts(workers, receipt) == ("processed", "applied", reason)
    timeline = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    assert any(event["detail"].get("reason") == reason for event in timeline)
    again = send(paper, attempt(payment))
    workers.settle()
    assert api.read(payment.id) == shown
    assert verdicts(workers, again) == ("processed", "applied", reason)
    send(paper, paid(payment))
    workers.settle()
    done = api.read(payment.id)
    assert (done["status"], done["exception"], done["last_attempt_error"]) == ("completed", None, None)


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "declined"])
def test_a_declined_attempt_changes_nothing_about_an_end(paper: Shop, workers: Engine, api: Api, end: str) -> None:
    payment = workers.start(paper)
    send(paper, {"what": end, "about": payment.provider_reference, "minor": 2500 if end == "succeeded" else None})
    workers.settle()
    ended = api.read(payment.id)
    receipt = send(paper, attempt(payment))
    workers.settle()
    assert api.read(payment.id) == ended
    assert verdicts(workers, receipt)[:2] == ("processed", "ignored")


def test_an_event_that_may_be_about_somebody_elses_payment_is_ignored_in_the_end(paper: Shop, workers: Engine) -> None:
    receipt = send(paper, {"what": "refunded", "about": "of_somebody", "minor": 500, "foreign": True})
    for _ in range(ATTEMPTS_MAX):
        assert verdicts(workers, receipt)[0] == "pending"
        workers.make_webhooks_due()
        workers.settle()
    assert verdicts(workers, receipt) == ("processed", "ignored", "no payment of ours")
