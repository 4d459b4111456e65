"""What answers about refunds that start here say, as the fact REFUND_STATE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, FactKind, RefundState
from app.core.strict_json import JsonError, loads
from app.providers.adapter import RefundSubject
from app.providers.calls.answer_fields import clean_message, read_kind
from app.providers.calls.http_adapter import read_failure
from app.providers.calls.outgoing import ProviderAnswer


def read_refund_state(
    shown: Mapping[str, Any], states: Mapping[str, RefundState], reference: str, reason: object = None
) -> Fact:
    """Return the state of a refund by its `status`; `reference` is the provider's id of it. Raise UnexpectedAnswer."""
    state = read_kind(shown, states, "refund")
    return Fact(FactKind.REFUND_STATE, reversal_id=reference, refund_state=state, message=clean_message(reason))


def check_refund(found: object, subject: RefundSubject, field: str) -> None:
    """Raise UnexpectedAnswer unless the refund's `field`, which was `found`, is our id of it."""
    if found != str(subject.refund_id):
        raise UnexpectedAnswer("the provider's answer is about another refund", field)


def refuse_refund(answer: ProviderAnswer, *path: str | int) -> Fact:
    """Return the fact of a refused refund, with the text under `path` of the answer. Raise ProviderCallFailed."""
    try:
        text: Any = loads(answer.body)
        for name in path:
            text = text[name]
    except (JsonError, KeyError, TypeError):
        raise read_failure(answer) from None
    return Fact(FactKind.REFUND_STATE, refund_state="failed", message=clean_message(text))
