"""The GoCardless emulator over HTTP, its batches verified and read by GoCardless's own package."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from gocardless_pro import webhooks
from gocardless_pro.errors import InvalidSignatureError
from gocardless_pro.resources.billing_request import BillingRequest
from gocardless_pro.resources.billing_request_flow import BillingRequestFlow
from gocardless_pro.resources.event import Event
from gocardless_pro.resources.payment import Payment
from gocardless_pro.resources.refund import Refund

from testbed.waiting import wait_until
from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> EmulatedShop:
    return EmulatedShop(sandbox, receiver, "gocardless", f"sandbox_{secrets.token_hex(16)}", secrets.token_hex(16))


def call(shop: EmulatedShop, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
    """Make a call."""
    headers = {"Authorization": f"Bearer {shop.key}", "GoCardless-Version": "2015-07-06", **headers}
    return requests.request(method, shop.url + path, json=body, headers=headers, timeout=10)


def order(payment_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a call for 25.00 GBP says."""
    named = {"payment_id": payment_id}
    wanted = {"amount": 2500, "currency": "GBP", "description": "Deposit", "metadata": named} | changes
    return {"billing_requests": {"payment_request": wanted, "metadata": named}}


def create(shop: EmulatedShop, payment_id: str) -> BillingRequest:
    """Create a billing request."""
    answer = call(shop, "POST", "/billing_requests", order(payment_id), **{"Idempotency-Key": payment_id})
    assert answer.status_code == 201, answer.text
    return BillingRequest(answer.json()["billing_requests"], None)


def read(shop: EmulatedShop, request_id: str) -> BillingRequest:
    """Return the billing request."""
    return BillingRequest(call(shop, "GET", f"/billing_requests/{request_id}").json()["billing_requests"], None)


def batch(shop: EmulatedShop, webhook: Received) -> list[str]:
    """Return resource and action of each event of a batch that GoCardless's package finds good."""
    found = webhooks.parse_with_meta(webhook.body, shop.secret, webhook.headers["webhook-signature"])
    assert found.webhook_id.startswith("WB")
    assert len({event.id for event in found.events}) == len(found.events)
    return [f"{event.resource_type}.{event.action}" for event in found.events]


def batches(shop: EmulatedShop, count: int) -> list[list[str]]:
    """Return all batches, sorted."""
    return sorted(batch(shop, webhook) for webhook in shop.wait(count))


def test_a_request_with_its_flow_is_paid(shop: EmulatedShop) -> None:
    payment_id = new_id()
    request = create(shop, payment_id)
    assert (request.status, request.metadata) == ("pending", {"payment_id": payment_id})
    ways = {"redirect_uri": "https://shop.example/ok", "exit_uri": "https://shop.example/no"}
    body = ways | {"links": {"billing_request": request.id}}
    answer = call(shop, "POST", "/billing_request_flows", {"billing_request_flows": body})
    flow = BillingRequestFlow(answer.json()["billing_request_flows"], None)
    assert (answer.status_code, flow.redirect_uri) == (201, "https://shop.example/ok")
    page, _, token = flow.authorisation_url.partition("?token=")
    assert requests.get(flow.authorisation_url, timeout=5).status_code == 200
    left = requests.post(page + "/cancel", {"token": token}, allow_redirects=False, timeout=5)
    assert left.headers["Location"] == "https://shop.example/no"
    shop.happen(payment_id, "decline", "pay")
    paid = read(shop, request.id)
    assert paid.status == "fulfilled"
    answer = call(shop, "GET", f"/payments/{paid.links.payment_request_payment}")
    payment = Payment(answer.json()["payments"], None)
    assert (payment.status, payment.amount, payment.currency) == ("confirmed", 2500, "GBP")
    assert payment.metadata == {"payment_id": payment_id}
    assert batches(shop, 2) == [
        ["billing_requests.bank_authorisation_denied"],
        ["billing_requests.fulfilled", "payments.created", "payments.confirmed"],
    ]


def test_a_bank_debit_settles_or_fails_later(shop: EmulatedShop) -> None:
    settled, failed = new_id(), new_id()
    for payment_id, end in ((settled, "pay"), (failed, "decline")):
        request = create(shop, payment_id)
        shop.happen(payment_id, "commit")
        assert read(shop, request.id).status == "fulfilled"
        shop.happen(payment_id, end)
    begun = ["billing_requests.fulfilled", "payments.created", "payments.submitted"]
    assert batches(shop, 4) == [begun, begun, ["payments.confirmed"], ["payments.failed"]]


def test_a_request_is_cancelled_and_has_no_payment(shop: EmulatedShop) -> None:
    request = create(shop, new_id())
    path = f"/billing_requests/{request.id}/actions/cancel"
    assert call(shop, "POST", path).json()["billing_requests"]["status"] == "cancelled"
    again = call(shop, "POST", path)
    assert (again.status_code, again.json()["error"]["type"]) == (422, "invalid_state")
    assert call(shop, "GET", f"/payments/{request.id.replace('BRQ', 'PM')}").status_code == 404
    assert batches(shop, 1) == [["billing_requests.cancelled"]]


def test_a_used_key_names_what_it_made(shop: EmulatedShop) -> None:
    payment_id = new_id()
    request = create(shop, payment_id)
    again = call(shop, "POST", "/billing_requests", order(payment_id), **{"Idempotency-Key": payment_id})
    (error,) = again.json()["error"]["errors"]
    assert (again.status_code, error["reason"]) == (409, "idempotent_creation_conflict")
    assert error["links"]["conflicting_resource_id"] == request.id
    assert len(shop.sandbox.truth(payment_id)["payments"]) == 1


def test_lists_have_times_and_cursors(shop: EmulatedShop) -> None:
    began = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    made = [create(shop, new_id()).id for _ in range(3)]
    first = call(shop, "GET", f"/billing_requests?limit=2&created_at[gte]={began}").json()
    assert [row["id"] for row in first["billing_requests"]] == made[:0:-1]
    rest = call(shop, "GET", f"/billing_requests?limit=2&after={first['meta']['cursors']['after']}").json()
    assert [row["id"] for row in rest["billing_requests"]] == made[:1]
    assert rest["meta"]["cursors"]["after"] is None
    assert call(shop, "GET", f"/billing_requests?created_at[lt]={began}").json()["billing_requests"] == []


def test_a_refund_confirms_the_total(shop: EmulatedShop) -> None:
    payment_id = new_id()
    request = create(shop, payment_id)
    shop.happen(payment_id, "pay")
    payment = read(shop, request.id).links.payment_request_payment
    asked = {"amount": 700, "total_amount_confirmation": 700, "links": {"payment": payment}}
    answer = call(shop, "POST", "/refunds", {"refunds": asked | {"metadata": {"refund_id": "r1"}}})
    refund = Refund(answer.json()["refunds"], None)
    assert (answer.status_code, refund.amount, refund.status) == (201, 700, "pending_submission")
    for changes, reason in (
        ({}, "total_amount_confirmation_invalid"),
        ({"amount": 2500, "total_amount_confirmation": 3200}, "validation_failed"),
    ):
        refused = call(shop, "POST", "/refunds", {"refunds": asked | changes})
        assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (422, reason)
    path = f"/refunds/{refund.id}"
    wait_until(lambda: call(shop, "GET", path).json()["refunds"]["status"] == "paid", "the refund")
    listed = call(shop, "GET", f"/refunds?payment={payment}").json()["refunds"]
    assert [row["metadata"] for row in listed] == [{"refund_id": "r1"}]
    shop.happen(payment_id, "fail_refund")
    assert batches(shop, 3)[1:] == [["refunds.failed"], ["refunds.paid"]]


def events(shop: EmulatedShop, **query: str) -> list[str]:
    """Return the actions of the events that a call lists, the newest first."""
    answer = call(shop, "GET", "/events?" + "&".join(f"{name}={value}" for name, value in query.items()))
    assert answer.status_code == 200, answer.text
    return [Event(one, None).action for one in answer.json()["events"]]


def test_events_are_listed_whether_or_not_a_webhook_says_so(shop: EmulatedShop) -> None:
    lost, other = new_id(), new_id()
    shop.script(lost, webhook={"send": []})
    shop.script(other, webhook={"send": [{"body": "malformed", "copies": 2}, {"change": {"events.0.action": "x"}}]})
    made = {payment_id: create(shop, payment_id) for payment_id in (lost, other)}
    shop.happen(lost, "pay", "dispute")
    shop.happen(other, "pay")
    payment = read(shop, made[lost].id).links.payment_request_payment
    whole = ["charged_back", "confirmed", "created"]
    assert events(shop, payment=payment) == whole
    assert events(shop, payment=payment, action="confirmed") == ["confirmed"]
    assert events(shop) == ["confirmed", "created", "fulfilled", *whole, "fulfilled"]
    found: list[str] = []
    after = ""
    while not found or after:
        answer = call(shop, "GET", f"/events?payment={payment}&limit=2{after and f'&after={after}'}").json()
        found += [one["action"] for one in answer["events"]]
        after = answer["meta"]["cursors"]["after"]
    assert found == whole
    assert call(shop, "GET", "/events?after=EV0").status_code == 404
    shop.script(lost, fetch={"status": 503, "times": 1})
    assert call(shop, "GET", f"/events?payment={payment}").status_code == 503
    assert events(shop, payment=payment) == whole


def test_a_chargeback_is_of_the_whole_and_a_late_failure_can_be_collected_again(shop: EmulatedShop) -> None:
    payment_id = new_id()
    payment = f"/payments/{create(shop, payment_id).id.replace('BRQ', 'PM')}"

    def act(action: str, status: int = 200, **words: str) -> str:
        url = f"{shop.sandbox.url}/control/payments/{payment_id}/{action}"
        assert requests.post(url, json=words, timeout=5).status_code == status
        return str(call(shop, "GET", payment).json()["payments"]["status"])

    assert [act("pay"), act("refund", amount="7.00")] == ["confirmed"] * 2
    assert act("dispute", 422, amount="1.00") == "confirmed"
    assert [act("dispute"), act("dispute", 409), act("win_dispute")] == ["charged_back", "charged_back", "confirmed"]
    assert [act("dispute", message="late_failure"), act("win_dispute")] == ["failed", "confirmed"]
    assert [act("dispute", message="late_failure"), act("lose_dispute"), act("dispute", 409)] == ["failed"] * 3
    (truth,) = shop.sandbox.truth(payment_id)["payments"]
    assert (truth["refunded_minor"], truth["disputed_minor"]) == (700, 2500)
    assert events(shop, payment=payment.removeprefix("/payments/"))[:-2] == [
        *("late_failure_settled", "failed", "confirmed", "failed", "chargeback_cancelled", "charged_back", "paid"),
    ]


def test_several_events_come_in_one_batch(shop: EmulatedShop) -> None:
    payment_id = new_id()
    shop.script(payment_id, webhook={"join": 3})
    create(shop, payment_id)
    shop.happen(payment_id, "pay", "dispute", "win_dispute")
    assert batch(shop, shop.wait(1)[0])[2:] == [
        "payments.confirmed",
        "payments.charged_back",
        "payments.chargeback_cancelled",
    ]


def test_a_forgery_is_none_of_the_secrets(shop: EmulatedShop) -> None:
    payment_id = new_id()
    shop.script(payment_id, webhook={"send": [{"signature": "forged"}, {"change": {"events.0.action": "x"}}]})
    create(shop, payment_id)
    shop.happen(payment_id, "pay")
    forged, changed = shop.wait(2)
    with pytest.raises(InvalidSignatureError):
        batch(shop, forged)
    assert json.loads(changed.body)["events"][0]["action"] == "x"
    assert batch(shop, changed)[0] == "billing_requests.x"


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0},
        {"amount": "25.00"},
        {"currency": "pounds"},
        {"metadata": {str(number): "v" for number in range(4)}},
    ],
)
def test_a_wrong_request_is_refused(shop: EmulatedShop, changes: dict[str, Any]) -> None:
    answer = call(shop, "POST", "/billing_requests", order(new_id(), **changes))
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "validation_failed")


def test_a_wrong_key_and_unknown_madeare_refused(shop: EmulatedShop) -> None:
    assert call(shop, "GET", "/creditors").status_code == 200
    assert call(shop, "GET", "/billing_requests/BRQ0").status_code == 404
    assert call(shop, "GET", "/refunds/RF0").status_code == 404
    shop.key = "sandbox_wrong"
    assert call(shop, "GET", "/creditors").status_code == 401
