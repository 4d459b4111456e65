"""`sluice payments explain`: all that happened to a payment, in words, as JSON and as a diagram."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.core.errors import WebhookRejected
from app.core.payment import Payment
from app.services.payments import deposits
from app.services.webhooks import receive
from app.services.webhooks.receive import Delivery
from testbed.servers import Databases, Servers
from testbed.shop import Shop, make_shop
from tests.support import books


@dataclass(frozen=True)
class ExplainedBooks:
    """Busy books, and one payment of each kind in them."""

    databases: Databases
    shop: Shop
    payments: dict[str, Payment]

    def explain(self, kind: str, *arguments: str) -> str:
        """Run the command for the payment of a kind as an operator does and return what it prints."""
        done = run_explain(self.databases, str(self.payments[kind].id), *arguments)
        assert done.exit_code == 0, done.stderr
        return done.stdout


def run_explain(databases: Databases, *arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["payments", "explain", *arguments], env=databases.environment)


@pytest.fixture(scope="module")
def explained(servers: Servers) -> Iterator[ExplainedBooks]:
    """Books in which everything has happened, a refused delivery among it."""
    with servers.open_databases() as databases, databases.open_runtime() as runtime:
        shop = make_shop(runtime)
        made = books.make_busy(databases, shop, users=1)
        made["client"] = deposits.create_deposit(runtime, shop.client("bob"), new_deposit()).payment
        body = shop.body(made["paid"])
        forged = Delivery("payment-success", None, shop.sign(body, secret="whsec_" + "A" * 43 + "="), body, "192.0.2.7")
        with pytest.raises(WebhookRejected):
            receive.receive(runtime, forged)
        yield ExplainedBooks(databases, shop, made)


def new_deposit() -> deposits.Deposit:
    """Return a deposit that a browser asks for."""
    return deposits.Deposit("bob", 2500, "USD", None, None, None, {"note": "a; b # c"}, "key-1", bytes(32))


def test_explains_a_payment_in_words(explained: ExplainedBooks) -> None:
    text = explained.explain("paid")
    first, blank, *_ = text.splitlines()
    assert (
        first
        == f"Payment {explained.payments['paid'].id}: 10.00 USD for user user-0 is completed. Received: 10.00 USD."
    )
    assert blank == ""
    for said in (
        "A deposit of 10.00 USD for user user-0 is asked for",
        "The payment goes from pending to completed: the money arrived",
        "The user's wallet gets 10.00 USD (deposit)",
        "The user's browser is sent payment.completed",
        "A webhook from 192.0.2.7 that names this payment is refused: its signature does not hold",
    ):
        assert said in text
    times = re.findall(r"^\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d\.\d{3})", text, re.MULTILINE)
    assert len(times) >= 6
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("doubled", "the same bytes came again once, without effect"),
        ("conflict", "same id with other bytes"),
        ("failed", "The payment goes from pending to failed"),
        ("cancelled", "The payment goes from pending to cancelled: cancelled on request"),
        ("late", "the money arrived after the payment had ended"),
        ("refunded", "The user's wallet gets -10.00 USD (reversal)"),
        ("under", "Kept as a dead letter for a person"),
        ("under", "The dead letter (underpaid) is accepted, and the money in it credited, by operator test"),
        ("open", "event_type 'payment.failed' and status 'success' disagree"),
    ],
)
def test_explains_exceptions(explained: ExplainedBooks, kind: str, said: str) -> None:
    assert said in explained.explain(kind)


def test_explains_a_payment_as_json(explained: ExplainedBooks) -> None:
    story = json.loads(explained.explain("under", "--json"))
    assert story["payment"]["id"] == str(explained.payments["under"].id)
    kinds = [event["kind"] for event in story["events"]]
    assert kinds[0] == "payment_created"
    assert {"webhook", "decision", "entry", "notification", "dead_letter", "dead_letter_accepted"} <= set(kinds)
    assert all(event["text"] and event["who"] and event["at"].endswith("Z") for event in story["events"])


@pytest.mark.parametrize("kind", ["paid", "doubled", "under", "refunded", "cancelled", "client", "failed"])
def test_draws_it(explained: ExplainedBooks, kind: str) -> None:
    lines = explained.explain(kind, "--mermaid").splitlines()
    assert lines[0] == "sequenceDiagram"
    names = [line.split()[1] for line in lines if line.startswith("    participant ")]
    assert names == ["User", "Frontend", "API", "Payment", "External", "Wallet", "Callback"]
    who = "|".join(names)
    drawn = re.compile(
        rf"    (participant \w+ as .+|%% .+|({who})(->>|-->>|--x)({who}): [^;#]+|Note over ({who}): [^;#]+)"
    )
    for line in lines[1:]:
        # Entity codes are the only place for these two characters.
        assert drawn.fullmatch(re.sub(r"#(35|59|37|lt|gt);", "", line)), line


def test_draws_the_flow_of_the_seed(explained: ExplainedBooks) -> None:
    lines = [line.strip() for line in explained.explain("paid", "--mermaid").splitlines()]
    steps = (
        "API->>Payment: Create payment of 10.00 USD",
        "Note over Payment: Status: 'pending'",
        "External->>Callback: POST /webhooks/payment-callback",
        "Callback->>Payment: succeeded: the money arrived",
        "Note over Payment: Status: 'completed'",
        "Payment->>Wallet: deposit 10.00 USD",
        "Payment->>Frontend: WebSocket/SSE: payment.completed",
        "Frontend-->>User: Show success message",
    )
    places = [lines.index(step) for step in steps]
    assert places == sorted(places)


def test_says_when_there_is_no_such_payment(explained: ExplainedBooks) -> None:
    done = run_explain(explained.databases, str(uuid.uuid4()))
    assert done.exit_code == 1
    assert "there is no payment" in done.stderr
    assert run_explain(explained.databases, "nonsense").exit_code == 2
