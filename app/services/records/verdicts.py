"""Order a webhook's verdicts by their time: its row has the last one, the audit those before it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Operators' actions that settle a webhook anew; their `former` is the verdict that it had until then.
_REDRIVES = ("dead_letter_redriven", "webhook_replayed")
_VERDICT = ("status", "verdict", "reason")
# Between the operator's action and the decision that the webhook leads to, where they share a moment.
_RANK = 2


class HistoryRow(NamedTuple):
    """An event of the timeline; `rank` and `sequence` order the events of one moment."""

    at: datetime.datetime
    rank: int
    sequence: int
    kind: str
    actor: str
    detail: dict[str, Any]


def order_verdicts(events: Sequence[HistoryRow]) -> list[HistoryRow]:
    """Return `events` with each webhook's first verdict at its receipt and each later one when it was given.

    A `webhook` without a redrive stays as it is. A later verdict is an event of its own, kind `webhook_settled`.
    """
    formers: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.kind in _REDRIVES and event.detail.get("former"):
            formers.setdefault(str(event.detail.get("webhook_id")), []).append(event.detail["former"])
    if not formers:
        return list(events)
    ordered: list[HistoryRow] = []
    for event in events:
        if event.kind != "webhook" or event.detail["webhook_id"] not in formers:
            ordered.append(event)
            continue
        first, *later = [*formers[event.detail["webhook_id"]], event.detail]
        ordered.append(event._replace(detail=event.detail | {name: first[name] for name in _VERDICT}))
        ordered += [_settled(event, verdict) for verdict in later if verdict["status"] != "pending"]
    return sorted(ordered, key=lambda event: event[:3])


def _settled(webhook: HistoryRow, verdict: Mapping[str, Any]) -> HistoryRow:
    detail = {"webhook_id": webhook.detail["webhook_id"]} | {name: verdict[name] for name in _VERDICT}
    at = datetime.datetime.fromisoformat(verdict["settled_at"])
    return HistoryRow(at, _RANK, 0, "webhook_settled", webhook.actor, detail)
