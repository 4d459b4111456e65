"""Each rule as the outside sees it: HTTP in, HTTP out, real processes between, and a sandbox that misbehaves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.services.verification import prove
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api

PROCESSES = ("web", "sandbox", "worker-settle", "worker-provider", "beat")
# The longest wait is a retry's few seconds and a sweep's two, on a busy machine.
END_SECONDS = 30.0


@pytest.fixture(scope="module")
def whole(stack: Stack) -> Iterator[Stack]:
    """All processes that a deposit needs; in the end the books of all tests are proved."""
    stack.start(*PROCESSES)
    yield stack
    report = prove(stack.runtime.database, "full")
    assert report.is_whole, report.as_json()


@dataclass
class Buyer:
    """A user of a shop of their own who pays at a misbehaving sandbox, and what the shop then sees."""

    stack: Stack
    shop: Shop
    api: Api
    case: str = field(default_factory=lambda: secrets.token_hex(6))
    payment_id: str = ""

    def script(self, **script: Any) -> None:
        """Has the sandbox misbehave for this buyer's payment."""
        self.stack.sandbox.script(match={"metadata": {"case": self.case}}, **script)

    def deposit(self) -> None:
        """Ask for 25.00 USD, without waiting for anything."""
        answer = self.api.deposit(user_id=self.case, metadata={"case": self.case})
        assert answer.status_code == 202, answer.text
        self.payment_id = answer.json()["id"]

    def begin(self) -> None:
        """Ask for a deposit and waits for the pay page."""
        self.deposit()
        self.wait(status="processing")

    def act(self, action: str, **body: Any) -> None:
        """Acts on the pay page."""
        reference = self.api.read(self.payment_id)["provider_reference"]
        self.stack.sandbox.act(reference, action, **body)

    def wait(self, **fields: Any) -> dict[str, Any]:
        """Return the payment once it shows all these fields."""

        def find_payment() -> dict[str, Any] | None:
            shown = self.api.read(self.payment_id)
            return shown if fields.items() <= shown.items() else None

        return wait_until(find_payment, f"the payment shows {fields}", END_SECONDS)

    def cancel(self) -> int:
        """Cancel; return the answer's status code."""
        return self.api.post(f"/api/payments/{self.payment_id}/cancel").status_code

    def make_due(self) -> None:
        """Let the next provider call be due now, in place of its minute."""
        query = "update payment_work set due_at = now() where payment_id = :id"
        self.stack.databases.rows(query, id=self.payment_id)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the details of the timeline's events of one kind."""
        answer = self.api.get(f"/api/payments/{self.payment_id}/timeline")
        assert answer.status_code == 200, answer.text
        return [event["detail"] for event in answer.json()["data"] if event["kind"] == kind]

    def reasons(self) -> list[str]:
        """Why the payment became what it is, in words, each once."""
        return list(dict.fromkeys(detail["reason"] for detail in self.events("decision")))

    def wait_for_reason(self, words: str) -> None:
        """Wait until the timeline gives a reason with these words."""
        wait_until(
            lambda: any(words in reason for reason in self.reasons()), f"the timeline says: {words}", END_SECONDS
        )

    def wallet(self, currency: str = "USD") -> tuple[str, str]:
        """Return the balance, and the pending amount."""
        wallets = self.api.get(f"/api/wallets/{self.case}").json()["data"]
        found = next((each for each in wallets if each["currency"] == currency), None)
        return (found["balance"], found["pending"]) if found else ("0.00", "0.00")

    def entries(self) -> list[tuple[str, str]]:
        """Type and amount of the wallet's entries, newest first."""
        entries = self.api.get(f"/api/wallets/{self.case}/transactions").json()["data"]
        return [(entry["type"], entry["amount"]) for entry in entries]

    def open_cases(self) -> list[dict[str, Any]]:
        """Return the payment's dead letters that wait for a person."""
        answer = self.api.get("/api/dead-letters", payment_id=self.payment_id)
        assert answer.status_code == 200, answer.text
        cases: list[dict[str, Any]] = answer.json()["data"]
        return cases

    def assert_credited_once(self) -> None:
        """Check that the money was credited once and taken once."""
        assert self.entries() == [("deposit", "25.00")]
        assert self.wallet() == ("25.00", "0.00")
        truth = self.stack.sandbox.truth(self.payment_id)
        (calls,) = truth["create_calls"]
        assert (calls["idempotency_keys"], calls["bodies"], len(truth["payments"])) == (1, 1, 1)
        assert truth["payments"][0]["captures"] == 1


@pytest.fixture
def buyer(whole: Stack) -> Buyer:
    shop = whole.make_shop()
    return Buyer(whole, shop, Api(whole.web, shop.secret_key))


def test_five_hundreds_then_good(buyer: Buyer) -> None:
    buyer.script(create={"status": 503, "times": 2})
    buyer.begin()
    assert [call["outcome"] for call in buyer.events("provider_call")] == [
        "OutcomeUnknown",
        "OutcomeUnknown",
        "accepted",
    ]
    buyer.act("pay")
    assert buyer.wait(status="completed")["exception"] is None
    buyer.assert_credited_once()


def test_time_out_but_captured(buyer: Buyer) -> None:
    buyer.script(auto={"action": "pay"}, create={"answer": "timeout", "hold": 0.3, "times": 1})
    buyer.deposit()
    assert buyer.wait(status="completed")["exception"] is None
    buyer.assert_credited_once()


def test_the_webhook_comes_before_the_answer(buyer: Buyer) -> None:
    buyer.script(auto={"action": "pay"}, create={"after_webhook": True, "delay": 0.5})
    buyer.deposit()
    done = buyer.wait(status="completed")
    assert done["exception"] is None
    buyer.wait_for_reason("the money arrived")
    buyer.assert_credited_once()


def test_doubled_webhooks(buyer: Buyer) -> None:
    buyer.script(webhook={"send": [{"copies": 6, "parallel": True}, {}, {}]})
    buyer.begin()
    buyer.act("pay")
    buyer.wait(status="completed")
    wait_until(lambda: len(buyer.events("webhook")) == 3, "all webhooks are taken")
    wait_until(lambda: {one["status"] for one in buyer.events("webhook")} == {"processed"}, "all are settled")
    # Six copies of one are one; two more with ids of their own say nothing new.
    assert sorted(one["verdict"] for one in buyer.events("webhook")) == ["applied", "duplicate", "duplicate"]
    assert "the payment is completed already" in buyer.reasons()
    buyer.assert_credited_once()


def test_reordered_webhooks(buyer: Buyer) -> None:
    buyer.script(webhook={"reverse": 2})
    buyer.begin()
    buyer.act("pay", amount="10.00")
    buyer.act("pay")
    # The total of 25.00 comes first; 10.00 as a total after it contradicts it, and moves nothing.
    assert buyer.wait(exception="conflict")["status"] == "completed"
    buyer.wait_for_reason("less than was received before")
    assert buyer.entries() == [("deposit", "25.00")]
    assert buyer.wallet() == ("25.00", "0.00")
    assert [(case["reason"], case["amount"]) for case in buyer.open_cases()] == [("second_payment", None)]


def test_a_webhook_that_is_never_sent(buyer: Buyer) -> None:
    buyer.script(webhook={"send": []})
    buyer.begin()
    buyer.act("pay")
    buyer.make_due()
    assert buyer.wait(status="completed")["exception"] is None
    assert buyer.events("webhook") == []
    buyer.assert_credited_once()


def test_money_after_the_cancel_is_late(buyer: Buyer) -> None:
    buyer.begin()
    assert buyer.cancel() == 200
    assert buyer.wallet() == ("0.00", "0.00")
    buyer.act("pay", even_if_ended=True)
    done = buyer.wait(status="completed")
    assert (done["exception"], done["failure_reason"]) == ("late", None)
    # The answer to the closing of the session may report the money as well, before the webhook or after it.
    assert "the money arrived after the payment had ended" in buyer.reasons()
    buyer.assert_credited_once()
    assert buyer.cancel() == 409


def test_the_answer_to_our_cancel_comes_after_late_money(buyer: Buyer) -> None:
    buyer.script(webhook={"reverse": 2})
    buyer.begin()
    assert buyer.cancel() == 200
    wait_until(lambda: "close" in [call["action"] for call in buyer.events("provider_call")], "the session is closed")
    buyer.act("pay", even_if_ended=True)
    assert buyer.wait(status="completed")["exception"] == "late"
    # The webhook about the cancel contradicts nothing: that the payment had ended before is known.
    buyer.wait_for_reason("had ended before its money arrived")
    assert buyer.api.read(buyer.payment_id)["exception"] == "late"
    buyer.assert_credited_once()


def test_too_little_then_the_rest(buyer: Buyer) -> None:
    buyer.begin()
    buyer.act("pay", amount="10.00")
    held = buyer.wait(exception="underpaid")
    assert (held["status"], held["received_amount"]) == ("processing", "10.00")
    assert buyer.wallet() == ("0.00", "25.00")
    assert [(case["reason"], case["amount"]) for case in buyer.open_cases()] == [("underpaid", "10.00")]
    buyer.act("pay")
    assert buyer.wait(status="completed")["exception"] is None
    assert buyer.entries() == [("deposit", "25.00")]
    assert buyer.open_cases() == []


def test_too_much_is_accepted_by_a_person(buyer: Buyer) -> None:
    buyer.begin()
    buyer.act("pay", amount="30.00")
    assert buyer.wait(exception="overpaid")["status"] == "processing"
    (case,) = buyer.open_cases()
    answer = buyer.api.post(f"/api/dead-letters/{case['id']}/accept")
    assert answer.status_code == 200, answer.text
    assert buyer.wait(status="completed")["received_amount"] == "30.00"
    assert buyer.entries() == [("deposit", "30.00")]
    assert "accepted by a person" in buyer.reasons()
    assert buyer.api.post(f"/api/dead-letters/{case['id']}/accept").status_code == 409


def test_another_currency_is_rejected_by_a_person(buyer: Buyer) -> None:
    buyer.begin()
    buyer.act("pay", amount="25.00", currency="EUR")
    held = buyer.wait(exception="currency_mismatch")
    assert (held["status"], held["received_amount"], held["received_currency"]) == ("processing", "25.00", "EUR")
    (case,) = buyer.open_cases()
    assert buyer.api.post(f"/api/dead-letters/{case['id']}/reject").status_code == 200
    assert buyer.open_cases() == []
    assert buyer.entries() == []
    assert (buyer.wallet("EUR"), buyer.wallet()) == (("0.00", "0.00"), ("0.00", "25.00"))


def test_a_failure_after_the_success(buyer: Buyer) -> None:
    buyer.script(webhook={"events": ["success"], "send": [{}, {"opposite": True}]})
    buyer.begin()
    buyer.act("pay")
    assert buyer.wait(exception="conflict")["status"] == "completed"
    assert buyer.reasons()[-1] == "the provider says 'declined' of a completed payment"
    buyer.assert_credited_once()


def test_cancelled_in_the_moment_in_which_the_money_comes(buyer: Buyer) -> None:
    """The provider refuses to close a session that was just paid; no webhook reports it."""
    buyer.script(cancel={"capture": True}, webhook={"send": []})
    buyer.begin()
    assert buyer.cancel() == 200
    done = buyer.wait(status="completed")
    assert (done["exception"], done["failure_reason"]) == ("late", None)
    buyer.assert_credited_once()
