"""The stories by name: what happens in each, and what must have become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.cli.stories.stage import Payment, Stage

# The first poll is a minute after the payment was made; the rest is for a busy machine.
POLL_SECONDS_MAX = 150.0


@dataclass(frozen=True)
class Story:
    """A story; `status`, `exception` and `balance` are what it ends with, `lesson` says why, for a person."""

    title: str
    play: Callable[[Stage], None]
    lesson: str
    status: str = "completed"
    exception: str | None = None
    balance: str = "25.00"


def _is(status: str, exception: str | None = None) -> Callable[[Payment], bool]:
    return lambda payment: payment["status"] == status and payment["exception"] == exception


def _paid(stage: Stage) -> None:
    stage.ask()
    stage.act("pays", "pay")
    stage.until("the payment is completed", _is("completed"))


def _declined(stage: Stage) -> None:
    stage.ask()
    stage.act("tries to pay; the bank declines", "decline", message="The card was declined.")
    stage.until("the payment failed", _is("failed"))


def _late_success(stage: Stage) -> None:
    stage.ask()
    stage.cancel()
    stage.until_happened("the provider's page is closed", "provider_call", action="close")
    stage.act("has paid all the same: the bank's answer comes after the end", "pay", even_if_ended=True)
    stage.until_decided()


def _double_webhook(stage: Stage) -> None:
    stage.script(webhook={"send": [{"copies": 3}]})
    _paid(stage)
    stage.until_delivered(3)


def _lost_webhook(stage: Stage) -> None:
    stage.script(webhook={"send": []})
    stage.ask()
    stage.act("pays, and the webhook about it never arrives", "pay")
    stage.say("Sluice", "waits for a webhook, and asks the provider by itself a minute after the payment was made")
    stage.until("Sluice has asked", _is("completed"), POLL_SECONDS_MAX)


def _forged_webhook(stage: Stage) -> None:
    stage.script(webhook={"send": [{"signature": "forged", "attempts": 1}, {}]})
    stage.ask()
    stage.act("pays; a forger's webhook arrives before the provider's", "pay")
    stage.until("the payment is completed", _is("completed"))
    stage.until_happened("the forgery is recorded", "webhook_refused", reason="signature")


def _webhook_first(stage: Stage) -> None:
    stage.script(auto={"action": "pay"}, create={"after_webhook": True})
    stage.say("the payer", "pays so quickly that the webhook overtakes the answer to our own call")
    stage.ask()
    stage.until("the payment is completed", _is("completed"))


def _lost_answer(stage: Stage) -> None:
    stage.script(create={"answer": "torn", "times": 1})
    stage.say("the sandbox", "will take the payment, but its answer breaks off")
    _paid(stage)


def _underpaid(stage: Stage) -> None:
    stage.ask()
    stage.act("pays 10.00 of the 25.00", "pay", amount="10.00")
    stage.until_decided()


def _overpaid(stage: Stage) -> None:
    stage.ask()
    stage.act("pays 30.00 where 25.00 was asked", "pay", amount="30.00")
    stage.until_decided()


def _conflict(stage: Stage) -> None:
    # Late enough for the success to be settled first; a failure that comes before it contradicts nothing.
    stage.script(webhook={"events": ["success"], "send": [{}, {"opposite": True, "delay": 3}]})
    stage.ask()
    stage.act("pays; the provider reports the success, and then a failure", "pay")
    stage.until("the contradiction is noticed", _is("completed", "conflict"))


def _refund(stage: Stage) -> None:
    _paid(stage)
    stage.refund()
    stage.until("the money went back", lambda payment: payment["reversed_amount_minor"] == 2500)


def _chargeback(stage: Stage) -> None:
    _paid(stage)
    stage.act("disputes the payment at the bank, which takes the money back", "dispute", message="fraudulent")
    stage.until("the money is gone", lambda payment: payment["reversed_amount_minor"] == 2500)
    stage.until("the dispute is noticed", lambda payment: payment["exception"] == "disputed")


def _dispute_won(stage: Stage) -> None:
    _chargeback(stage)
    stage.act("decides the dispute for the merchant", "win_dispute", actor="the bank")
    stage.until("the money came again", lambda payment: payment["reversed_amount_minor"] == 0)
    stage.until("nothing is left of the dispute", lambda payment: payment["exception"] is None)


STORIES = {
    "paid": Story("The payer pays.", _paid, "The plain case: one payment, one credit, one event to the browser."),
    "declined": Story(
        "The payer's bank declines.", _declined, "Nothing was credited. The shop may make a new deposit.",
        status="failed", balance="0.00",
    ),
    "late-success": Story(
        "The payer pays after the payment was cancelled.", _late_success,
        "Money that has arrived is never lost: it was credited after the end, and the mark `late` says so.",
        exception="late",
    ),
    "double-webhook": Story(
        "The provider sends its webhook three times.", _double_webhook,
        "All three were accepted, so that the provider stops; one was applied, and the money was credited once.",
    ),
    "lost-webhook": Story(
        "The provider's webhook never arrives (takes a minute).", _lost_webhook,
        "Sluice does not depend on webhooks: it asked the provider and credited what it learnt.",
    ),
    "forged-webhook": Story(
        "Somebody forges a webhook.", _forged_webhook,
        "The forgery was refused before anything of it was believed; the provider's own webhook was applied.",
    ),
    "webhook-first": Story(
        "The webhook overtakes the answer to our own call.", _webhook_first,
        "The webhook was enough; the late answer only filled in the provider's reference.",
    ),
    "lost-answer": Story(
        "The provider takes the payment, and its answer breaks off.", _lost_answer,
        "An unknown outcome is no failure: Sluice asked again with the same key, and there is one payment, not two.",
    ),
    "underpaid": Story(
        "The payer pays too little.", _underpaid,
        "Nothing is credited until a person decides: `sluice dead-letters accept ID` credits the 10.00 that came,"
        " and the rest, if the payer still sends it, completes the payment.",
        status="processing", exception="underpaid", balance="0.00",
    ),
    "overpaid": Story(
        "The payer pays too much.", _overpaid,
        "Nothing is credited until a person decides: `sluice dead-letters accept ID` credits what came.",
        status="processing", exception="overpaid", balance="0.00",
    ),
    "conflict": Story(
        "The provider reports a success, and then a failure.", _conflict,
        "Completed stays completed and no money moves; the mark `conflict` asks a person to inquire.",
        exception="conflict",
    ),
    "refund": Story(
        "The shop gives the money back.", _refund,
        "The wallet's money was held at once and left it when the provider had done the refund.", balance="0.00",
    ),
    "chargeback": Story(
        "The payer disputes the payment, and the bank takes the money back.", _chargeback,
        "The payment stays completed: the money that went is an entry of its own, and the mark says that a dispute is"
        " open.",
        exception="disputed", balance="0.00",
    ),
    "dispute-won": Story(
        "The payer disputes the payment, and loses.", _dispute_won,
        "The money went and came again, each in an entry of its own; nothing of it is left but the history.",
    ),
}  # fmt: skip
