"""The bad days that the pay page offers: what happens to this one payment now, and what a script makes happen later."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.payments import actions
from sandbox.protocols.payment import ProviderPayment
from sandbox.scripting import scripts
from sandbox.values import amounts

# Long enough for a person to be back at the shop and see its state before the surprise.
LATER_SECONDS = 5


@dataclass(frozen=True, slots=True)
class PageStory:
    """A button: its label, what it does in one sentence, the action of now, and the sections of the script."""

    label: str
    text: str
    action: str = "pay"
    is_half: bool = False
    script: Mapping[str, Any] = field(default_factory=dict)


STORIES = {
    "late-success": PageStory(
        "Pay too late",
        f"Cancels now; the money arrives {LATER_SECONDS} seconds later.",
        action="cancel",
        script={"auto": {"action": "pay", "after": LATER_SECONDS, "even_if_ended": True}},
    ),
    "double-webhook": PageStory(
        "Send the webhook three times",
        "Pays; the shop must credit once.",
        script={"webhook": {"events": ["success"], "send": [{"copies": 3}]}},
    ),
    "lost-webhook": PageStory(
        "Lose the webhook",
        "Pays, and sends nothing; the shop must ask.",
        script={"webhook": {"events": ["success"], "send": []}},
    ),
    "underpaid": PageStory("Pay half", "Pays too little; the rest can follow.", is_half=True),
    "chargeback": PageStory(
        "Pay, then dispute",
        f"Pays; the bank takes the money back {LATER_SECONDS} seconds later.",
        script={"auto": {"action": "dispute", "after": LATER_SECONDS, "message": "fraudulent"}},
    ),
}


def play(connection: sqlite3.Connection, payment: ProviderPayment, name: str) -> ProviderPayment:
    """Play a story with an open payment. Raise Refusal 409 where it is no longer open."""
    story = STORIES[name]
    if story.script:
        # Before the action: the webhook that the action sends is scripted already.
        scripts.store(connection, {"match": {"merchant_reference": payment.merchant_reference}, **story.script})
    words = {"amount": amounts.render(payment.amount_minor // 2, payment.currency)} if story.is_half else {}
    return actions.act(connection, payment, story.action, words)


def offered(payment: ProviderPayment, *, is_native: bool) -> dict[str, PageStory]:
    """Return the stories that the payment's page offers: of an open payment of the sandbox's own protocol."""
    if not is_native or payment.status != "open":
        return {}
    # Half of the smallest amount is nothing.
    return {name: story for name, story in STORIES.items() if not story.is_half or payment.amount_minor > 1}
