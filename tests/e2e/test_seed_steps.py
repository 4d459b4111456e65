"""The payment flow step by step, for success, failure and cancel, as the outside and the tables show them.

The worker of the next step is stopped while a step is checked, so that each state is observed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from standardwebhooks import Webhook

from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend, Listener, PayPage, assert_credited_once
from tests.support.supervised_stack import SupervisedStack

WEBHOOKS = "select * from payment_webhooks where payment_id = :id"
PAYMENTS = "select * from payment_transactions where id = :id"
TEMP_LOGS = "select * from wallet_temp_logs where payment_id = :id"
AUDIT = "select kind, actor, payment_version, detail from audit_logs where payment_id = :id order by id"


@pytest.fixture
def listener(frontend: Frontend) -> Iterator[Listener]:
    """Provide the frontend's live connection, open before anything happens."""
    opened = frontend.listen()
    yield opened
    opened.close()


def deposit_up_to_the_pay_page(full_stack: SupervisedStack, frontend: Frontend, listener: Listener) -> dict[str, Any]:
    """Walk steps 1 to 9 and return the payment that waits on the pay page."""
    with full_stack.paused("worker-provider"):
        # 1 and 2: the user starts a payment, the frontend posts it. 3: the service makes it.
        answer = frontend.ask("25.00", "USD", metadata={"order": "1001"})
        assert answer.status_code == 202
        payment: dict[str, Any] = answer.json()
        assert answer.headers["Location"] == f"/api/payments/{payment['id']}"
        assert payment["status"] == "pending"
        assert payment["redirect_url"] is None
        # 4: the PAYMENT_TRANSACTIONS record, pending; the money is held as pending, in no balance.
        (row,) = full_stack.rows(PAYMENTS, id=payment["id"])
        assert (row["status"], row["amount_minor"], row["currency"]) == ("pending", 2500, "USD")
        assert (row["user_id"], str(row["provider_id"])) == (frontend.user_id, full_stack.run["provider_id"])
        (held,) = full_stack.rows(TEMP_LOGS, id=payment["id"])
        assert (held["state"], held["amount_minor"], held["closed_at"]) == ("held", 2500, None)
        assert (frontend.wallet()["balance"], frontend.wallet()["pending"]) == ("0.00", "25.00")
        assert full_stack.sandbox.truth(payment["id"])["payments"] == []
    # 5: the external app gets the order. 6: it answers with its page.
    message = listener.wait_for("payment.redirect_ready", payment["id"])
    (order,) = full_stack.sandbox.truth(payment["id"])["payments"]
    assert order["status"] == "open"
    # 7 and 8: the redirect URL reaches the frontend, over the socket and over the API.
    processing = frontend.payment(payment["id"])
    assert processing["status"] == message["payment"]["status"] == "processing"
    assert processing["redirect_url"] == message["payment"]["redirect_url"]
    assert processing["redirect_url"].startswith(full_stack.run["sandbox"])
    assert processing["provider_reference"] == order["reference"]
    # 9: the browser is on the external app's page, which asks for this amount.
    assert "25.00" in PayPage(processing["redirect_url"]).answer.text
    return processing


def act_and_see_webhook(full_stack: SupervisedStack, payment: dict[str, Any], button: str, path: str) -> dict[str, Any]:
    """Presses a button on the pay page; returns the stored, not yet settled webhook that the external app sent."""
    with full_stack.paused("worker-settle"):
        back = PayPage(payment["redirect_url"]).press(button)
        returned = "success" if button == "Pay" else "failure"
        assert back.startswith(f"{full_stack.run['web']}/demo?returned={returned}")
        assert parse_qs(urlsplit(back).query)["payment_id"] == [payment["id"]]
        delivery = wait_until(
            lambda: next(
                (sent for sent in full_stack.sandbox.deliveries(payment["id"]) if sent["state"] == "delivered"), None
            ),
            "the external app was answered",
        )
        # 200 says that it is stored; that the work behind it is still to be done changes nothing for the sender.
        assert [attempt["status"] for attempt in delivery["attempts"]] == [200]
        assert delivery["url"] == f"{full_stack.run['web']}/webhooks/{path}"
        (webhook,) = full_stack.rows(WEBHOOKS, id=payment["id"])
        assert (webhook["status"], webhook["path"], webhook["verdict"]) == ("pending", path, None)
        assert bytes(webhook["body"]).decode() == delivery["body"]
        Webhook(full_stack.run["webhook_secret"]).verify(bytes(webhook["body"]), webhook["headers"])
        (row,) = full_stack.rows(PAYMENTS, id=payment["id"])
        assert row["status"] == "processing"
    return webhook


def decisions(full_stack: SupervisedStack, payment_id: str) -> list[tuple[str | None, str]]:
    """Return the payment's way through its states, as the audit log has it."""
    rows = full_stack.rows(AUDIT, id=payment_id)
    assert rows[0]["kind"] == "payment_created"
    assert [row["payment_version"] for row in rows if row["payment_version"]] == list(
        range(1, 1 + sum(1 for row in rows if row["payment_version"]))
    )
    return [(row["detail"].get("from"), row["detail"]["to"]) for row in rows if "to" in row["detail"]]


def assert_nothing_credited(full_stack: SupervisedStack, frontend: Frontend, payment_id: str) -> None:
    """Fails unless the payment left no entry and its hold is released."""
    (held,) = full_stack.rows(TEMP_LOGS, id=payment_id)
    assert held["state"] == "released"
    assert held["closed_at"] is not None
    assert full_stack.rows("select id from wallet_transactions where payment_id = :id", id=payment_id) == []
    assert frontend.entries() == []
    assert frontend.wallet().get("balance_minor", 0) == frontend.wallet().get("pending_minor", 0) == 0


def test_a_paid_deposit(full_stack: SupervisedStack, frontend: Frontend, listener: Listener) -> None:
    payment = deposit_up_to_the_pay_page(full_stack, frontend, listener)
    # 10 and 11: the user pays there. 12: the external app calls back; 19 and 20 are its answer.
    webhook = act_and_see_webhook(full_stack, payment, "Pay", "payment-success")
    # 13, 14: the payment's status. 21: the frontend hears of it over the socket, 22 with all that it shows.
    message = listener.wait_for("payment.completed", payment["id"])
    assert message["payment"] == frontend.payment(payment["id"])
    assert message["payment"]["status"] == "completed"
    assert message["payment"]["received_amount"] == "25.00"
    assert listener.types(payment["id"]) == ["payment.redirect_ready", "payment.completed"]
    (row,) = full_stack.rows(PAYMENTS, id=payment["id"])
    assert row["status"] == "completed"
    assert row["completed_at"] is not None
    # 15 and 16: the wallet's balance. 17: its entry. 18: the hold is closed in the same transaction.
    assert (frontend.wallet()["balance"], frontend.wallet()["pending"]) == ("25.00", "0.00")
    (entry,) = frontend.entries()
    assert (entry["amount"], entry["balance_before"], entry["balance_after"]) == ("25.00", "0.00", "25.00")
    assert (entry["type"], entry["reference_id"]) == ("deposit", payment["id"])
    assert_credited_once(full_stack, payment["id"], 2500)
    (held,) = full_stack.rows(TEMP_LOGS, id=payment["id"])
    assert held["state"] == "applied"
    (settled,) = full_stack.rows(WEBHOOKS, id=payment["id"])
    assert (settled["id"], settled["status"], settled["verdict"]) == (webhook["id"], "processed", "applied")
    assert decisions(full_stack, payment["id"]) == [
        (None, "pending"),
        ("pending", "processing"),
        ("processing", "completed"),
    ]
    kinds = [event["kind"] for event in frontend.timeline(payment["id"])]
    assert kinds == [
        *("payment_created", "provider_call", "decision", "notification"),
        *("webhook", "decision", "entry", "entry", "notification"),
    ]


def test_a_declined_deposit(full_stack: SupervisedStack, frontend: Frontend, listener: Listener) -> None:
    payment = deposit_up_to_the_pay_page(full_stack, frontend, listener)
    # 10 and 11: the external app refuses. 12: it calls back; 15 and 16 are its answer.
    webhook = act_and_see_webhook(full_stack, payment, "Decline", "payment-failed")
    said = json.loads(bytes(webhook["body"]))
    assert said["status"] == "failed"
    # 13 and 14: the payment's status. 17: the frontend hears of it, 18 with the reason that it shows.
    message = listener.wait_for("payment.failed", payment["id"])
    assert message["payment"] == frontend.payment(payment["id"])
    assert message["payment"]["status"] == "failed"
    assert message["payment"]["failure_reason"] == said["error_message"]
    (settled,) = full_stack.rows(WEBHOOKS, id=payment["id"])
    assert (settled["status"], settled["verdict"]) == ("processed", "applied")
    assert_nothing_credited(full_stack, frontend, payment["id"])
    assert decisions(full_stack, payment["id"]) == [
        (None, "pending"),
        ("pending", "processing"),
        ("processing", "failed"),
    ]


def test_a_deposit_cancelled_on_the_pay_page(
    full_stack: SupervisedStack, frontend: Frontend, listener: Listener
) -> None:
    payment = deposit_up_to_the_pay_page(full_stack, frontend, listener)
    webhook = act_and_see_webhook(full_stack, payment, "Cancel", "payment-failed")
    assert json.loads(bytes(webhook["body"]))["status"] == "cancelled"
    message = listener.wait_for("payment.cancelled", payment["id"])
    assert message["payment"] == frontend.payment(payment["id"])
    assert message["payment"]["status"] == "cancelled"
    assert_nothing_credited(full_stack, frontend, payment["id"])
    assert decisions(full_stack, payment["id"])[-1] == ("processing", "cancelled")


def test_a_deposit_cancelled_by_its_user(full_stack: SupervisedStack, frontend: Frontend, listener: Listener) -> None:
    payment = deposit_up_to_the_pay_page(full_stack, frontend, listener)
    answer = frontend.post(f"/api/payments/{payment['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert listener.wait_for("payment.cancelled", payment["id"])["payment"]["status"] == "cancelled"
    assert_nothing_credited(full_stack, frontend, payment["id"])
    # The pay page is closed as well, so that nobody pays what is not wanted any more.
    wait_until(
        lambda: full_stack.sandbox.truth(payment["id"])["payments"][0]["status"] == "cancelled",
        "the external app closed its page",
    )
    assert frontend.post(f"/api/payments/{payment['id']}/cancel").status_code == 409


def test_the_flow_through_the_single_callback(
    full_stack: SupervisedStack, frontend: Frontend, listener: Listener
) -> None:
    """One callback for both ends, believed only when it is signed."""
    payment = deposit_up_to_the_pay_page(full_stack, frontend, listener)
    body = json.dumps(
        {
            "provider_id": full_stack.run["provider_id"],
            "event_type": "payment.success",
            "transaction_id": payment["id"],
            "provider_reference": payment["provider_reference"],
            "status": "success",
            "amount": "25.00",
            "currency": "USD",
        }
    ).encode()
    forged = deliver(full_stack, body, "whsec_" + "A" * 43 + "=")
    assert forged.status_code == 400
    assert forged.headers["Content-Type"] == "application/problem+json"
    assert full_stack.rows(WEBHOOKS, id=payment["id"]) == []
    assert frontend.payment(payment["id"])["status"] == "processing"
    good = deliver(full_stack, body, full_stack.run["webhook_secret"])
    assert good.status_code == 200
    assert good.json() == {"received": True, "webhook_id": good.json()["webhook_id"], "duplicate": False}
    assert listener.wait_for("payment.completed", payment["id"])["payment"]["status"] == "completed"
    again = deliver(full_stack, body, full_stack.run["webhook_secret"])
    assert again.status_code == 200
    assert again.json()["duplicate"] is True
    assert_credited_once(full_stack, payment["id"], 2500)


def deliver(full_stack: SupervisedStack, body: bytes, secret: str) -> requests.Response:
    """Send a webhook as the external app would, signed with this secret; the id is made of the body."""
    now = datetime.now(UTC)
    webhook_id = f"msg_{sha256(body).hexdigest()[:32]}"
    headers = {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body.decode()),
    }
    return full_stack.http.post(
        f"{full_stack.run['web']}/webhooks/payment-callback", data=body, headers=headers, timeout=10
    )
