"""`sluice payments`, `webhooks`, `alerts` on a real database."""

from __future__ import annotations

import base64
import uuid

import pytest

from app.core.errors import WebhookRejected
from app.runtime.runtime import Runtime
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from app.services.webhooks import receive, settle
from app.services.webhooks.receive import Delivery
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.support.commands import Commands


@pytest.fixture
def commands(databases: Databases) -> Commands:
    """Provide the command line on databases of the test's own."""
    return Commands(databases)


def test_payments_are_listed_newest_first(commands: Commands, tenant: Shop) -> None:
    made = [tenant.deposit(amount, key=amount) for amount in ("1.00", "2.00", "3.00")]
    listed = commands.json("payments", "list")["data"]
    assert [row["id"] for row in listed] == [str(payment.id) for payment in reversed(made)]
    assert listed[0]["amount"] == "3.00"
    assert listed[0]["tenant_id"] == str(tenant.tenant_id)
    assert [row["amount"] for row in commands.json("payments", "list", "--limit", "1")["data"]] == ["3.00"]
    table = commands.text("payments", "list")
    for payment in made:
        assert str(payment.id) in table


def test_payments_are_chosen(commands: Commands, runtime: Runtime, tenant: Shop) -> None:
    other = make_shop(runtime)
    ann, bob = tenant.deposit(user_id="ann"), tenant.deposit(user_id="bob")
    theirs = other.deposit(user_id="ann")

    def found(*options: str) -> set[str]:
        return {row["id"] for row in commands.json("payments", "list", *options)["data"]}

    assert found("--user", "ann") == {str(ann.id), str(theirs.id)}
    assert found("--tenant", str(tenant.tenant_id)) == {str(ann.id), str(bob.id)}
    assert found("--tenant", str(tenant.tenant_id), "--user", "ann") == {str(ann.id)}
    assert found("--status", "pending") == {str(ann.id), str(bob.id), str(theirs.id)}
    assert found("--status", "completed") == set()
    assert found("--created-before", ann.created_at.isoformat()) == set()
    assert found("--created-after", bob.created_at.isoformat()) == {str(theirs.id)}
    assert commands.text("payments", "list", "--user", "nobody") == "No such payments.\n"


def test_a_payment_is_shown_with_its_timeline(commands: Commands, runtime: Runtime, tenant: Shop) -> None:
    payment = tenant.deposit("25.00")
    tenant.deliver(tenant.body(payment))
    settle.settle_due(runtime)
    story = commands.json("payments", "show", str(payment.id))
    assert story["payment"]["status"] == "completed"
    assert [event["kind"] for event in story["timeline"]] == [
        *("payment_created", "webhook", "decision", "entry", "entry", "notification"),
    ]
    shown = commands.text("payments", "show", str(payment.id))
    assert "A deposit of 25.00 USD for user ann is asked for" in shown
    assert "The payment goes from pending to completed: the money arrived" in shown
    assert "The user's wallet gets 25.00 USD (deposit); its balance is 25.00 USD" in shown


def test_what_is_not_there_is_said(commands: Commands) -> None:
    unknown = str(uuid.uuid4())
    assert f"there is no payment {unknown}" in commands.error("payments", "show", unknown)
    assert f"there is no webhook {unknown}" in commands.error("webhooks", "show", unknown)
    assert "there is no tenant 'nobody'" in commands.error("payments", "list", "--tenant", "nobody")


@pytest.mark.parametrize(
    "arguments",
    [
        ("payments", "show", "17"),
        ("payments", "list", "--status", "done"),
        ("payments", "list", "--limit", "0"),
        ("payments", "list", "--created-after", "yesterday"),
        ("webhooks", "show", "17"),
        ("webhooks", "list", "--status", "done"),
        ("webhooks", "list", "--refused", "--status", "failed"),
        ("alerts", "list", "--kind", "flood"),
    ],
)
def test_wrong_input_is_refused(commands: Commands, arguments: tuple[str, ...]) -> None:
    commands.error(*arguments, code=2)


def test_webhooks_are_listed_and_shown_as_they_were_sent(commands: Commands, runtime: Runtime, tenant: Shop) -> None:
    payment = tenant.deposit()
    body = tenant.body(payment)
    receipt = tenant.deliver(body, webhook_id="msg_one")
    tenant.deliver(body, webhook_id="msg_one")
    (waiting,) = commands.json("webhooks", "list", "--status", "pending")["data"]
    assert waiting["id"] == str(receipt.webhook_id)
    settle.settle_due(runtime)
    assert commands.json("webhooks", "list", "--status", "pending")["data"] == []
    (listed,) = commands.json("webhooks", "list", "--payment", str(payment.id))["data"]
    assert (listed["external_id"], listed["status"], listed["verdict"]) == ("msg_one", "processed", "applied")
    assert "msg_one" in commands.text("webhooks", "list", "--provider", str(tenant.provider_id))
    assert commands.text("webhooks", "list", "--provider", str(uuid.uuid4())) == "No such webhooks.\n"

    shown = commands.json("webhooks", "show", listed["id"])
    assert base64.b64decode(shown["body_base64"]) == body
    assert shown["body"] == body.decode()
    assert shown["headers"]["webhook-id"] == "msg_one"
    assert shown["duplicates"] == 1
    table = commands.text("webhooks", "show", listed["id"])
    assert body.decode() in table
    assert "webhook-signature" in table


def test_refused_webhooks_are_listed(commands: Commands, runtime: Runtime, tenant: Shop) -> None:
    body = tenant.body(tenant.deposit())
    headers = tenant.sign(body) | {"webhook-signature": "v1,AAAA"}
    with pytest.raises(WebhookRejected):
        receive.receive(runtime, Delivery("payment-callback", None, headers, body, "192.0.2.7"))
    (refusal,) = commands.json("webhooks", "list", "--refused")["data"]
    assert refusal["reason"] == "signature"
    assert refusal["remote_address"] == "192.0.2.7"
    assert "192.0.2.7" in commands.text("webhooks", "list", "--refused", "--tenant", str(tenant.tenant_id))


def test_what_a_sender_wrote_does_not_steer_the_terminal(commands: Commands, tenant: Shop) -> None:
    body = tenant.body(tenant.deposit(), error_message="\x1b[2J[red]gone[/red]").replace(b"\\u001b", b"\x1b")
    with pytest.raises(WebhookRejected):
        tenant.deliver(body)
    body = tenant.body(tenant.deposit(key="other"), error_message="é\u009b2J[red]gone[/red]")
    receipt = tenant.deliver(body.decode().encode())
    assert "\x9b" not in commands.text("webhooks", "show", str(receipt.webhook_id))


def test_alerts_are_listed(commands: Commands, runtime: Runtime, tenant: Shop) -> None:
    assert commands.text("alerts", "list") == "No alarms.\n"
    with runtime.database.transaction("worker") as connection:
        alerts.write(connection, [AlertRow("payment_late", tenant.tenant_id, {"payment_id": "one"})])
    with runtime.database.transaction("worker") as connection:
        alerts.write(connection, [AlertRow("work_overdue", None, {"queues": ["settle"]})])
    newest, oldest = commands.json("alerts", "list")["data"]
    assert (newest["kind"], newest["severity"], newest["tenant_id"]) == ("work_overdue", "critical", None)
    assert oldest["detail"] == {"payment_id": "one"}
    assert [row["kind"] for row in commands.json("alerts", "list", "--kind", "payment_late")["data"]] == [
        "payment_late"
    ]
    of_tenant = commands.json("alerts", "list", "--tenant", str(tenant.tenant_id))["data"]
    assert [row["kind"] for row in of_tenant] == ["payment_late"]
    assert "due work is not being done" in commands.text("alerts", "list")
