"""What a story is played with: a deposit of its own, the payer's acts at the sandbox, and a narrator."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from app.cli.backend import Backend
from app.cli.output import printable
from app.cli.timeline import describe_event, describe_event_actor

# What Sluice does by itself takes milliseconds; a worker that is just being restarted takes some seconds.
STEP_SECONDS_MAX = 60.0
# Between two reads while a step is under way: a person sees each step as it happens.
READ_SECONDS = 0.2
CURRENCY = "USD"

Payment = dict[str, Any]
Events = list[dict[str, Any]]


class StoryStuck(click.ClickException):
    """A step of the story did not happen in time."""


class NoSandbox(click.ClickException):
    """The tenant has no provider that a story may be played with."""


class Stage:
    """One performance. `report` gets each thing that happens to its payment as it happens: time, actor, sentence.

    The payment is of a user of its own, so that the wallet shows this story's money alone.
    """

    def __init__(self, backend: Backend, report: Callable[[datetime.timedelta, str, str], None]) -> None:
        self._backend = backend
        self._report = report
        self._provider_id = find_sandbox(backend)
        self._mark = secrets.token_hex(8)
        self._began = datetime.datetime.now(datetime.UTC)
        self._reported: dict[tuple[str, str, str], str] = {}
        self.user_id = f"story-{self._mark[:6]}"
        self.payment: Payment = {}
        self.events: Events = []

    def script(self, **sections: Any) -> None:
        """Let the sandbox misbehave for this story's payment (docs/SANDBOX.md)."""
        match = {"metadata": {"sluice_story": self._mark}}
        self._control("PUT", "script", {"match": match, **sections})

    def ask(self, amount: str = "25.00") -> None:
        """Ask for the deposit as the tenant's backend does, and wait until the sandbox has it."""
        body = {"user_id": self.user_id, "amount": amount, "currency": CURRENCY, "provider_id": self._provider_id}
        self.payment = self._backend.api(
            "POST",
            "/api/payments/deposit",
            json={**body, "metadata": {"sluice_story": self._mark}},
            headers={"Idempotency-Key": f"story-{self._mark}"},
        )
        self.until("the sandbox has the payment", lambda seen: seen["provider_reference"] is not None)

    def say(self, actor: str, sentence: str) -> None:
        """Report what somebody outside Sluice does."""
        self._report(datetime.datetime.now(datetime.UTC) - self._began, actor, sentence)

    def act(self, sentence: str, action: str, actor: str = "the payer", **words: Any) -> None:
        """Let something happen at the sandbox, by an action of scripts."""
        self.say(actor, sentence)
        self._control("POST", f"payments/{self.payment['id']}/{action}", words)

    def cancel(self) -> None:
        """Cancel the payment as the tenant's backend does."""
        self.say("your backend", f"POST /api/payments/{self.payment['id']}/cancel")
        self._backend.api("POST", f"/api/payments/{self.payment['id']}/cancel")

    def refund(self) -> None:
        """Give all of the money back as the tenant's backend does."""
        self.say("your backend", f"POST /api/payments/{self.payment['id']}/refunds")
        headers = {"Idempotency-Key": f"story-{self._mark}"}
        self._backend.api("POST", f"/api/payments/{self.payment['id']}/refunds", json={}, headers=headers)

    def until(self, what: str, is_so: Callable[[Payment], bool], seconds: float = STEP_SECONDS_MAX) -> None:
        """Report what happens until `is_so` holds for the payment. Raise StoryStuck after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            # The payment first: what made it so is then in the events.
            self.payment = self._backend.api("GET", f"/api/payments/{self.payment['id']}")
            self._report_news()
            if is_so(self.payment):
                return
            if time.monotonic() > deadline:
                raise StoryStuck(f"after {seconds:g} s still not: {what}. Is a worker missing? See `sluice doctor`")
            time.sleep(READ_SECONDS)

    def until_happened(self, what: str, kind: str, **detail: Any) -> None:
        """Report what happens until there is an event of `kind` with `detail`."""
        self.until(
            what,
            lambda _payment: any(
                event["kind"] == kind and detail.items() <= event["detail"].items() for event in self.events
            ),
        )

    def until_decided(self) -> None:
        """Report what happens until the report of money is decided on, as the tenant's policies have it."""
        self.until_happened("the money is decided on", "decision", given="succeeded")

    def until_delivered(self, count: int) -> None:
        """Wait until `count` webhooks of the sandbox were answered 200, and report how often that was."""

        def count_answers() -> int:
            query = f"deliveries?merchant_reference={self.payment['id']}"
            sent = self._control("GET", query)["data"]
            return sum(attempt["status"] == 200 for each in sent for attempt in each["attempts"])

        self.until(f"{count} webhooks were delivered", lambda _payment: count_answers() >= count)
        self.say("the sandbox", f"The webhook was sent {count_answers()} times; each was answered 200")

    def finish(self) -> None:
        """Report the rest: events get their numbers moments after what they report."""
        self.until(
            "every event has its number",
            lambda _payment: all(
                event["detail"]["id"] is not None for event in self.events if event["kind"] == "notification"
            ),
        )

    def balance(self) -> str:
        """Return what the user's wallet holds."""
        wallets = self._backend.api("GET", f"/api/wallets/{self.user_id}")["data"]
        return str(wallets[0]["balance"]) if wallets else "0.00"

    def _control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        options = {} if body is None else {"json": dict(body)}
        return self._backend.call(method, f"{self._backend.sandbox}/control/{path}", **options)

    def _report_news(self) -> None:
        """Report the events that are new, and those that say more than before."""
        self.events = self._backend.api("GET", f"/api/payments/{self.payment['id']}/timeline")["data"]
        for event in self.events:
            detail = event["detail"]
            if (event["kind"] == "webhook" and detail["status"] == "pending") or (
                event["kind"] == "notification" and detail["id"] is None
            ):
                continue  # Its outcome follows within moments.
            name = (event["at"], event["kind"], str(detail.get("id") or detail.get("webhook_id")))
            sentence = describe_event(event)
            if self._reported.get(name) != sentence:
                self._reported[name] = sentence
                after = datetime.datetime.fromisoformat(event["at"]) - self._began
                self._report(max(after, datetime.timedelta()), describe_event_actor(event), printable(sentence))


def find_sandbox(backend: Backend) -> str:
    """Return the id of the tenant's provider at the sandbox. Raise NoSandbox.

    A live tenant has none, which the database holds: no story is ever played against one.
    """
    providers = backend.api("GET", "/api/providers")["data"]
    usable = [each for each in providers if each["adapter"] == "sandbox" and each["status"] != "disabled"]
    if not usable:
        raise NoSandbox(
            "this tenant has no sandbox provider, and stories are played with nothing else (a live tenant never has"
            " one): sluice providers create NAME --tenant T --adapter sandbox --url URL"
        )
    if not backend.sandbox:
        raise NoSandbox("no sandbox is known: set SLUICE_SANDBOX_PUBLIC_URL to its address")
    return str(max(usable, key=lambda each: bool(each["is_default"]))["id"])
