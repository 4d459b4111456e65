"""The events of webhooks as items to settle, and what came of each."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from sqlalchemy import Connection

from app.core.decision import Verdict
from app.core.facts import Command, CommandKind, Input
from app.providers import Asks, Event, Ignored, Told
from app.providers.events import POKE_PATH
from app.services.payments.batch_decisions import Item, ItemOutcome
from app.services.records import references
from app.services.records.alerts import AlertRow
from app.services.webhooks import event_rows
from app.services.webhooks.event_rows import EventRow
from app.services.webhooks.translate import StoredWebhook, make_item

_PRECEDENCE = (Verdict.DEAD_LETTER, Verdict.CONFLICT, Verdict.APPLIED, Verdict.DUPLICATE, Verdict.IGNORED)
_LOOK_UP = Command(CommandKind.LOOK_UP)


@dataclass(slots=True)
class EventResult:
    """One event of a webhook and what came of it.

    `verdict` None: the payment that it names is not there yet, or is of another provider (`is_foreign`).
    """

    webhook: StoredWebhook
    event: Event
    verdict: Verdict | None = Verdict.IGNORED
    reason: str = ""
    payment_id: uuid.UUID | None = None
    is_foreign: bool = False
    # Whether it was settled with an earlier delivery or attempt.
    is_known: bool = False

    def leave_to_others(self) -> None:
        """Ignore an event whose payment was not found and may be one that we have nothing to do with."""
        if self.verdict is None and isinstance(self.event, Told) and self.event.may_be_foreign:
            self.verdict, self.reason = Verdict.IGNORED, "no payment of ours"


@dataclass(slots=True)
class Events:
    """The events of a batch of webhooks: added, made into items, then given the outcomes of these.

    `is_anew`: those that were settled before are settled again.
    """

    connection: Connection
    is_anew: bool = False
    results: list[EventResult] = field(default_factory=list)
    alerts: list[AlertRow] = field(default_factory=list)
    # The results that wait for an outcome, in the order of the items.
    _asked: list[EventResult] = field(default_factory=list)

    def add(self, webhook: StoredWebhook, events: Sequence[Event]) -> None:
        """Add a webhook with what it says."""
        # Nothing to say is an event as well: each delivery has a verdict.
        self.results += [EventResult(webhook, event) for event in events or (Ignored("it has no events"),)]

    def list_items(self) -> list[Item]:
        """Return an item for each event that names a payment and is not settled yet, in their order."""
        if not self.is_anew:
            self._note_settled()
        found = self._find_payments()
        items = []
        for result in self.results:
            given = None if result.is_known else self._read(result, found)
            if given is not None and result.payment_id is not None:
                items.append(make_item(result.webhook, result.payment_id, given))
                self._asked.append(result)
        return items

    def note(self, outcomes: Sequence[ItemOutcome]) -> None:
        """Add the outcomes of the items and write down the events that have an id of their own."""
        direct = [outcome for outcome in outcomes if not outcome.item.is_follow_up]
        for result, outcome in zip(self._asked, direct, strict=True):
            decision = outcome.decision
            result.is_foreign = outcome.is_foreign
            if decision is None:
                result.verdict = None
            else:
                result.verdict = decision.verdict if decision.case is None else Verdict.DEAD_LETTER
                result.reason = decision.reason
        event_rows.write(
            self.connection,
            [
                EventRow(result.webhook, result.event.event_id, result.payment_id, result.verdict, result.reason)
                for result in self.results
                if result.event.event_id is not None and result.verdict is not None and not result.is_known
            ],
        )

    def by_webhook(self) -> Iterator[tuple[StoredWebhook, list[EventResult]]]:
        """Yield each webhook with its results, one at least."""
        for webhook, results in itertools.groupby(self.results, attrgetter("webhook")):
            yield webhook, list(results)

    def _find_payments(self) -> references.Found:
        named = [
            (result.webhook.provider_id, result.event.name)
            for result in self.results
            if not isinstance(result.event, Ignored) and isinstance(result.event.name, str)
        ]
        return references.find(self.connection, named) if named else {}

    def _note_settled(self) -> None:
        """Mark the events that are settled: with another webhook, or in an earlier attempt of the same one."""
        ids = [(one.webhook.provider_id, one.event.event_id) for one in self.results if one.event.event_id]
        found = event_rows.find(self.connection, list(dict.fromkeys(ids))) if ids else ()
        settled = {(row.provider_id, row.event_id): row for row in found}
        for result in self.results if settled else ():
            row = settled.get((result.webhook.provider_id, result.event.event_id))
            if row is None:
                continue
            result.is_known, result.payment_id = True, row.payment_id
            is_same = row.webhook_id == result.webhook.id
            result.verdict = Verdict(row.verdict) if is_same else Verdict.DUPLICATE
            result.reason = row.reason if is_same else "this event is settled"

    def _read(self, result: EventResult, found: references.Found) -> Input | None:
        """Return what the event gives to settle, with the result's payment; None with its reason otherwise."""
        webhook, event = result.webhook, result.event
        if isinstance(event, Ignored):
            result.reason = event.reason
            return None
        name = event.name
        result.payment_id = name if isinstance(name, uuid.UUID) else found.get((webhook.provider_id, name))
        if isinstance(event, Asks):
            result.reason = "" if result.payment_id else "no payment of ours"
            if result.payment_id is None and webhook.path == POKE_PATH:
                # It may be here before the answer in which the provider named its payment.
                result.verdict = None
            return _LOOK_UP
        if event.is_live is not None and event.is_live != (webhook.mode == "live"):
            result.reason = f"about {'live' if event.is_live else 'test'} payments, and the provider is for the other"
            self.alerts.append(AlertRow("webhook_of_other_mode", webhook.tenant_id, {"webhook_id": webhook.id}))
            return None
        if result.payment_id is None:
            result.verdict = None
        return event.fact


def sum_up(results: Sequence[EventResult]) -> tuple[Verdict, str]:
    """Return the verdict of a delivery whose events are all settled, and the reason of that verdict.

    Of several events, that which a person should know of first gives the verdict.
    """
    strongest = min(results, key=lambda result: _PRECEDENCE.index(result.verdict or Verdict.IGNORED))
    verdict = strongest.verdict or Verdict.IGNORED
    count = "" if len(results) == 1 else f"{len(results)} events, among them: "
    return verdict, count + strongest.reason
