"""Validates scripts: their sections, fields and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.values import amounts, json_input
from sandbox.values.refusal import Refusal

_Check = Callable[[Any], bool]

# A delayed answer occupies one of the server's threads; no client of a payment app waits longer.
_LONGEST_ANSWER_SECONDS = 120
# Pending webhooks and steps are rows, so a day is cheap; it is also the default monitoring window.
_LONGEST_WAIT_SECONDS = 86_400
# Enough for a test of many deliveries, few enough that a typing error does not fill the disk.
_MOST_COPIES = 1_000
_MOST_ITEMS = 50
_MOST_USES = 1_000_000
_LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
_LONGEST_TEXT = 2_048

ANSWERS = ("timeout", "torn", "redirect", "oversized", "not_json")
EVENTS = (
    *("success", "failed", "cancelled", "expired", "approved", "processing", "attempt_failed", "refunded"),
    *("refund_failed", "refund_refused", "disputed", "dispute_won", "dispute_lost"),
)
ACTIONS = (
    *("pay", "approve", "commit", "attempt", "decline", "cancel", "expire", "refund", "settle_refund", "fail_refund"),
    *("dispute", "win_dispute", "lose_dispute"),
)


def _number(highest: float) -> _Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= highest


def _integer(lowest: int, highest: int) -> _Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _one_of(*words: str) -> _Check:
    return lambda value: isinstance(value, str) and value in words


def _boolean(value: object) -> bool:
    return isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _object(value: object) -> bool:
    return isinstance(value, dict) and len(value) <= _MOST_ITEMS


def _list_of(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and len(value) <= _MOST_ITEMS and all(map(check, value))


_USES = _integer(1, _MOST_USES)
_ANSWER: dict[str, _Check] = {
    "status": _integer(300, 599),
    "retry_after": _integer(0, _LONGEST_WAIT_SECONDS),
    "message": _text,
    "delay": _number(_LONGEST_ANSWER_SECONDS),
    "answer": _one_of(*ANSWERS),
    "hold": _number(_LONGEST_ANSWER_SECONDS),
    "location": _text,
    "bytes": _integer(0, _LARGEST_ANSWER_BYTES),
    "effect": _boolean,
    "times": _USES,
}
SECTIONS: dict[str, dict[str, _Check]] = {
    "create": _ANSWER | {"after_webhook": _boolean, "show": _object},
    "fetch": _ANSWER | {"show": _object},
    "cancel": _ANSWER | {"capture": _boolean},
    "refund": _ANSWER | {"outcome": _one_of("pending", "failed")},
    "capture": _ANSWER | {"outcome": _one_of("pending", "declined")},
    "webhook": {
        "send": _list_of(lambda value: _read("webhook.send", value, _VARIANT)),
        "at_once": _boolean,
        "reverse": _integer(2, _MOST_ITEMS),
        "join": _integer(2, _MOST_ITEMS),
        "events": _list_of(_one_of(*EVENTS)),
        "times": _USES,
    },
}
_VARIANT: dict[str, _Check] = {
    "delay": _number(_LONGEST_WAIT_SECONDS),
    "copies": _integer(1, _MOST_COPIES),
    "parallel": _boolean,
    "opposite": _boolean,
    "stray": _boolean,
    "same_id": _boolean,
    "change": _object,
    "signature": _one_of("good", "forged", "missing"),
    "timestamp_shift": _integer(-(10**9), 10**9),
    "body": _one_of("malformed"),
    "attempts": _integer(1, _MOST_ITEMS),
}
_STEP: dict[str, _Check] = {
    "action": _one_of(*ACTIONS),
    "after": _number(_LONGEST_WAIT_SECONDS),
    "amount": _text,
    "currency": lambda value: bool(amounts.parse_currency(value, "auto.currency")),
    "message": _text,
    "even_if_ended": _boolean,
}
_MATCHES = ("merchant_reference", "metadata", "next")


def read_script(raw: bytes) -> dict[str, Any]:
    """Read a script and check every field. Raise Refusal 400 or 422 that names the wrong one."""
    script = json_input.read_object(raw, ("match", "times", "auto", *SECTIONS))
    _read_match(script.get("match"))
    if "times" in script and not _USES(script["times"]):
        raise _wrong("times")
    present = [name for name in SECTIONS if name in script]
    for name in present:
        _read(name, script[name], SECTIONS[name])
    if "auto" in script:
        steps = steps_of(script["auto"])
        if not 1 <= len(steps) <= _MOST_ITEMS:
            raise _wrong("auto")
        for step in steps:
            _read_step(step)
    elif not present:
        raise Refusal(422, "invalid_field", f"a script needs one of: auto, {', '.join(SECTIONS)}")
    return script


def read_action(action: str, raw: bytes) -> dict[str, Any]:
    """Read the words of one action that is to happen now. Raise Refusal 400, 404 or 422."""
    if action not in ACTIONS:
        raise Refusal(404, "not_found", f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
    words = json_input.read_object(raw, [word for word in _STEP if word not in ("action", "after")])
    _read_step({"action": action, **words})
    return words


def steps_of(auto: object) -> list[Any]:
    """Return the steps of an `auto` section, which is one step or a list of them."""
    return auto if isinstance(auto, list) else [auto]


def _read_match(match: object) -> None:
    if not isinstance(match, dict) or len(match) != 1 or next(iter(match)) not in _MATCHES:
        raise Refusal(422, "invalid_field", f"match must have exactly one of: {', '.join(_MATCHES)}")
    kind, wanted = next(iter(match.items()))
    if kind == "metadata":
        if not json_input.read_metadata(wanted, "match.metadata"):
            raise _wrong("match.metadata")
    elif kind == "next":
        if not _USES(wanted):
            raise _wrong("match.next")
    elif not _text(wanted) or not wanted:
        raise _wrong("match.merchant_reference")


def _read_step(step: object) -> None:
    _read("auto", step, _STEP)
    if not isinstance(step, dict) or "action" not in step:
        raise _wrong("auto.action")
    if "currency" in step and "amount" in step:
        amounts.parse(step["amount"], step["currency"], "auto.amount")


def _read(name: str, value: object, fields: Mapping[str, _Check]) -> bool:
    """Check one object of a script; return True, so that it can be used as a _Check."""
    if not isinstance(value, dict):
        raise _wrong(name)
    for field, content in value.items():
        if field not in fields:
            raise Refusal(422, "unknown_field", f"{name} has no {field!r}; it has {', '.join(sorted(fields))}")
        if not fields[field](content):
            raise _wrong(f"{name}.{field}")
    return True


def _wrong(field: str) -> Refusal:
    return Refusal(422, "invalid_field", f"{field} has a value that a script cannot use")
