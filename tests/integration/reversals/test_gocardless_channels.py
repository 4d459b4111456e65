"""Money of a GoCardless payment goes back and comes again: whichever channels say so, in any order, the end is one."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from app.core.payment import Payment
from app.core.reconciliation import Difference
from app.providers.credentials import API_KEY
from app.services.tenants import providers
from app.services.tenants.providers import NewProvider
from app.services.verification import prove
from app.services.webhooks import receive
from app.services.webhooks.receive import Delivery
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine


@dataclass
class GoCardlessScene:
    """A paid deposit of 25.00 GBP at the emulator, which sends no webhooks of its own."""

    front: Stack
    engine: Engine
    shop: Shop
    key: str = field(default_factory=lambda: f"sandbox_{secrets.token_hex(16)}", repr=False)
    secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    provider_id: uuid.UUID = field(init=False)
    payment: Payment = field(init=False)

    def __post_init__(self) -> None:
        url = f"{self.front.sandbox.url}/gocardless"
        new = NewProvider(self.shop.tenant_id, "gocardless", "gocardless", url, {API_KEY: self.key}, self.secret)
        self.provider_id, _ = providers.create_provider(self.shop.runtime, new, ACTOR)
        name = f"gocardless-{self.provider_id}"
        self.front.sandbox.put_merchant(name, self.key, self.secret, self.provider_id, protocol="gocardless")
        self.engine.postpone_others(self.provider_id)
        made = self.shop.deposit("25.00", "GBP", provider_id=self.provider_id)
        self.engine.call()
        self.payment = self.shop.payment(made.id)
        self.happen("pay")

    def happen(self, action: str, **words: Any) -> None:
        """Let something happen at GoCardless."""
        self.front.sandbox.happen(str(self.payment.id), action, **words)

    def read_events(self) -> list[dict[str, Any]]:
        """Return all that happened, the oldest first."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = requests.get(f"{self.front.sandbox.url}/gocardless/events", headers=headers, timeout=10)
        rows: list[dict[str, Any]] = answer.json()["events"]
        return rows[::-1]

    def deliver(self, *events: dict[str, Any]) -> None:
        """Deliver events in one batch, settle it, and make the call that it may ask for."""
        body = json.dumps({"events": events, "meta": {"webhook_id": f"WB{secrets.token_hex(6)}"}}).encode()
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "webhook-signature": signature}
        receive.receive(self.shop.runtime, Delivery("provider", str(self.provider_id), headers, body, "127.0.0.1"))
        self.engine.settle()
        self.engine.call()

    def list_differences(self) -> list[Difference]:
        """Compare with the provider's list."""
        return self.engine.reconcile(self.shop, self.provider_id).differences

    def disputes(self) -> list[str]:
        """Return the states of the payment's disputes, sorted."""
        rows = self.engine.databases.rows(
            "select state from payment_disputes where payment_id = :id order by state", id=self.payment.id
        )
        return [row["state"] for row in rows]

    def expect_end(self, posted: list[tuple[str, int]], disputes: list[str], exception: str | None) -> None:
        """Check the money, the marks, that no case is open, and that the list has nothing else to say."""
        assert (self.engine.posted(self.payment.id), self.disputes()) == (posted, disputes)
        after = self.shop.payment(self.payment.id)
        gone = sum(minor if kind == "reversal" else -minor for kind, minor in posted if kind != "deposit")
        assert (after.status, after.reversed_minor, after.exception) == ("completed", gone, exception)
        assert [one for one in self.engine.dead_letters(self.payment.id) if one[1] == "open"] == []
        assert self.list_differences() == []
        assert self.engine.posted(self.payment.id) == posted
        self.engine.number()
        report = prove(self.shop.runtime.database, "full", self.shop.tenant_id)
        assert report.is_whole, report.as_json()


CHANNELS = [
    "events",
    "events reversed",
    "events twice",
    "joined events twice",
    "poll",
    "list",
    "list and events reversed",
    "last event",
]


def report_by(scene: GoCardlessScene, channel: str) -> None:
    """Report all that happened by one of CHANNELS."""
    events = scene.read_events()
    if channel == "poll":
        scene.engine.poll(scene.payment.id)
        return
    if channel.startswith("list"):
        scene.list_differences()
    if channel == "joined events twice":
        scene.deliver(*events[:4])
        scene.deliver(*events[2:])
        scene.deliver(*events)
    elif "events" in channel:
        for event in events[::-1] if "reversed" in channel else events:
            scene.deliver(event)
    if channel == "events twice":
        for event in events:
            scene.deliver(event)
    if channel == "last event":
        scene.deliver(events[-1])


@pytest.fixture
def scene(front: Stack, engine: Engine, shop: Shop) -> GoCardlessScene:
    return GoCardlessScene(front, engine, shop)


@pytest.mark.parametrize("channel", CHANNELS)
def test_chargebacks_and_refunds_that_come_and_go_end_alike(scene: GoCardlessScene, channel: str) -> None:
    scene.happen("refund", amount="7.00")
    for action in ("fail_refund", "dispute", "win_dispute", "dispute", "lose_dispute"):
        scene.happen(action)
    report_by(scene, channel)
    scene.expect_end(
        [
            *(("deposit", 2500), ("reinstatement", 700), ("reinstatement", 2500)),
            *(("reversal", 700), ("reversal", 2500), ("reversal", 2500)),
        ],
        ["lost", "won"],
        "reversed",
    )


@pytest.mark.parametrize("channel", ["events", "events reversed", "poll", "list"])
def test_each_step_is_booked_when_it_happens(scene: GoCardlessScene, channel: str) -> None:
    report_by(scene, channel)
    scene.happen("dispute", message="late_failure")
    report_by(scene, channel)
    gone = [("deposit", 2500), ("reversal", 2500)]
    scene.expect_end(gone, [], "reversed")
    scene.happen("win_dispute")
    report_by(scene, channel)
    scene.expect_end([("deposit", 2500), ("reinstatement", 2500), ("reversal", 2500)], [], None)
    scene.happen("dispute")
    report_by(scene, channel)
    gone = [("deposit", 2500), ("reinstatement", 2500), ("reversal", 2500), ("reversal", 2500)]
    scene.expect_end(gone, ["opened"], "disputed")
    scene.happen("win_dispute")
    report_by(scene, channel)
    scene.expect_end([*gone[:1], *[("reinstatement", 2500)] * 2, *[("reversal", 2500)] * 2], ["won"], None)


def test_a_chargeback_of_what_was_refunded_in_part_is_for_a_person(scene: GoCardlessScene) -> None:
    scene.happen("refund", amount="7.00")
    scene.happen("dispute")
    report_by(scene, "events")
    assert scene.engine.posted(scene.payment.id) == [("deposit", 2500), ("reversal", 700)]
    assert scene.engine.dead_letters(scene.payment.id) == [("reversal", "open")]
    assert (scene.disputes(), scene.list_differences()) == (["opened"], [])
