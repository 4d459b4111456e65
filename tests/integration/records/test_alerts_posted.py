"""Alarms go to ALERT_URL as signed webhooks, until somebody takes them."""

from __future__ import annotations

import json

from standardwebhooks import Webhook

from app.services.records import alerts
from app.services.records.alerts import AlertRow
from app.services.tenants import providers
from app.services.upkeep import alert_delivery, alert_resolution
from testbed.servers import Databases
from tests.support.webhook_receiver import Received, WebhookReceiver


def raise_alarm(databases: Databases) -> None:
    with databases.open_runtime() as runtime, runtime.database.transaction("worker") as connection:
        alerts.write(connection, [AlertRow("provider_refused_us", None, {"provider": "sandbox"})])


def due(databases: Databases) -> int:
    return int(databases.value("select count(*) from alerts where due_at is not null"))


def test_an_alarm_is_posted_once_and_its_signature_holds(databases: Databases, receiver: WebhookReceiver) -> None:
    secret = providers.new_webhook_secret()
    raise_alarm(databases)
    with databases.open_runtime(ALERT_URL=receiver.url, ALERT_SECRET=secret) as runtime:
        alert_delivery.post_due(runtime)
        alert_delivery.post_due(runtime)

    (alarm,) = receiver.received
    # The reference library raises where the signature does not hold.
    assert Webhook(secret).verify(alarm.body, alarm.headers)["kind"] == "provider_refused_us"
    assert json.loads(alarm.body)["severity"] == "critical"
    assert json.loads(alarm.body)["detail"] == {"provider": "sandbox"}
    assert due(databases) == 0


def test_an_alarm_that_nobody_takes_is_tried_again(databases: Databases, receiver: WebhookReceiver) -> None:
    raise_alarm(databases)
    with databases.open_runtime(ALERT_URL=receiver.url) as runtime:
        receiver.answer = lambda alarm: 503
        alert_delivery.post_due(runtime)
        assert due(databases) == 1
        assert databases.value("select due_at > now() from alerts") is True

        receiver.answer = lambda alarm: 200
        databases.rows("update alerts set due_at = now()")
        alert_delivery.post_due(runtime)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert due(databases) == 0


def test_without_an_address_an_alarm_is_only_a_row(databases: Databases) -> None:
    raise_alarm(databases)
    with databases.open_runtime() as runtime:
        alert_delivery.post_due(runtime)
    assert due(databases) == 0
    assert databases.value("select count(*) from alerts") == 1


def test_a_secret_that_cannot_sign_loses_no_alarm(databases: Databases, receiver: WebhookReceiver) -> None:
    raise_alarm(databases)
    with databases.open_runtime(ALERT_URL=receiver.url, ALERT_SECRET="whsec_short") as runtime:
        alert_delivery.post_due(runtime)
    assert (receiver.received, due(databases), databases.value("select attempts from alerts")) == ([], 1, 0)
    with databases.open_runtime(ALERT_URL=receiver.url, ALERT_SECRET=providers.new_webhook_secret()) as runtime:
        alert_delivery.post_due(runtime)
    assert (len(receiver.received), due(databases)) == (1, 0)


def test_an_alarm_that_is_over_is_posted_once_more(databases: Databases, receiver: WebhookReceiver) -> None:
    subject = "01a22354-5026-7198-9640-55d7d3e2eac3"
    with databases.open_runtime(ALERT_URL=receiver.url) as runtime:
        with runtime.database.transaction("worker") as connection:
            alerts.write(connection, [AlertRow("provider_breaker_open", None, {}, subject)])
        alert_delivery.post_due(runtime)

        def resolve_meanwhile(alarm: Received) -> int:
            # What is resolved while it is posted is posted again, whatever becomes of this post.
            alert_resolution.resolve_ended(runtime)
            return 200

        receiver.answer = resolve_meanwhile
        databases.rows("update alerts set due_at = now()")
        for _ in range(3):
            alert_delivery.post_due(runtime)
    raised, again, over = (json.loads(alarm.body) for alarm in receiver.received)
    assert raised == again
    assert (raised["status"], raised["resolved_at"], raised["resolved_by"]) == ("raised", None, None)
    assert (over["status"], over["resolved_by"]) == ("resolved", "the provider answers")
    assert over["id"] == raised["id"]
    assert over["resolved_at"] > over["at"]
    ids = [alarm.headers["webhook-id"] for alarm in receiver.received]
    assert ids[0] == ids[1] != ids[2]
    assert due(databases) == 0
