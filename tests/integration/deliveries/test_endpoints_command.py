"""`sluice endpoints`: what an operator does with a tenant's webhook endpoints."""

from __future__ import annotations

import json
import uuid

from tests.integration.deliveries.endpoint_requests import Backend
from tests.support.commands import LOCAL, Commands
from tests.support.webhook_receiver import WebhookReceiver


def test_an_endpoint_on_the_command_line(backend: Backend, receiver: WebhookReceiver) -> None:
    commands, tenant = Commands(backend.databases), ("--tenant", str(backend.shop.tenant_id))
    made = commands.json("endpoints", "create", *tenant, "--url", receiver.url, "--event-type", "payment.completed")
    backend.secrets[made["id"]] = made["secret"]
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert commands.json("endpoints", "show", made["id"]) == shown
    assert commands.json("endpoints", "list", *tenant) == {"data": [shown]}
    assert "payment.completed" in commands.text("endpoints", "list", *tenant)
    due = commands.json("endpoints", "test", made["id"])
    backend.complete(2)
    backend.deliver()
    assert all(backend.verify(each, uuid.UUID(made["id"])) for each in receiver.received)
    rows = commands.json("endpoints", "deliveries", made["id"], "--status", "delivered")["data"]
    assert [row["event_id"] for row in rows] == [2, 1, None]
    assert due == {"delivery_id": rows[2]["id"]}
    assert rows[0]["attempts"][0]["answer"] == ""
    assert "endpoint.test" in commands.text("endpoints", "deliveries", made["id"])
    for options, count in ((("--delivery", rows[0]["id"]), 1), (("--after", "1"), 1), (("--since", "2020-01-01"), 2)):
        assert commands.text("endpoints", "redeliver", made["id"], *options) == f"{count} deliveries are due.\n"
        backend.deliver()
    assert commands.json("endpoints", "redeliver", made["id"], "--status", "failed") == {"deliveries": 0}
    assert [json.loads(each.body)["id"] for each in receiver.received][3:] in ([2, 2, 1, 2], [2, 2, 2, 1])
    commands.error("endpoints", "redeliver", made["id"], "--after", "1", "--since", "2020-01-01", code=2)
    commands.error("endpoints", "redeliver", made["id"], code=2)


def test_changes_on_the_command_line_are_audited(backend: Backend, receiver: WebhookReceiver) -> None:
    commands = Commands(backend.databases)
    endpoint_id = str(backend.endpoint(receiver.url))
    assert "secret" not in commands.json("endpoints", "update", endpoint_id, "--event-type", "refund.failed")
    assert commands.json("endpoints", "update", endpoint_id, "--all-event-types")["event_types"] is None
    off = commands.json("endpoints", "update", endpoint_id, "--disable")
    assert (off["status"], off["disabled_reason"]) == ("disabled", "requested")
    assert "disabled" in commands.error("endpoints", "test", endpoint_id)
    assert commands.json("endpoints", "update", endpoint_id, "--enable")["status"] == "enabled"
    assert "secret" in commands.json("endpoints", "rotate-secret", endpoint_id, "--overlap-seconds", "0")
    assert "secret" in commands.json("endpoints", "update", endpoint_id, "--url", "https://shop.example/")
    assert "webhook endpoint URL is https" in commands.error(
        *("endpoints", "update", endpoint_id, "--url", "http://shop.example/")
    )
    commands.error("endpoints", "update", endpoint_id, code=2)
    assert commands.json("endpoints", "delete", endpoint_id, "--yes") == {"id": endpoint_id, "deleted": True}
    assert "no such webhook endpoint" in commands.error("endpoints", "show", endpoint_id)
    rows = backend.databases.rows(
        "select kind, actor from audit_logs where tenant_id = :id and kind ~ 'endpoint' order by id",
        id=backend.shop.tenant_id,
    )
    kinds = ["endpoint_created", *["endpoint_changed"] * 4, "endpoint_secret_rotated", "endpoint_changed"]
    assert [row["kind"] for row in rows] == [*kinds, "endpoint_deleted"]
    assert {row["actor"] for row in rows[1:]} == {LOCAL}
