"""The path parameter of an object's id, kept apart from the fixed names of the same path segment."""

from __future__ import annotations

import functools
import re

from werkzeug.routing import BaseConverter

from app.web.operations import OPERATIONS


@functools.cache  # by the rules of the router
def path_pattern(rule: str) -> str:
    """Return a rule of the router, `/payments/<object:id>`, as the table of routes spells it: `/payments/{id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def find_fixed_names(rules: set[str], parameter: str) -> list[str]:
    """Return the fixed names that some rule has where another rule has `{parameter}`, sorted."""
    found: set[str] = set()
    for prefix in {rule.split(f"{{{parameter}}}")[0] for rule in rules if f"{{{parameter}}}" in rule}:
        found |= {rule.removeprefix(prefix).split("/")[0] for rule in rules if rule.startswith(prefix)}
    return sorted(found - {f"{{{parameter}}}"})


class ObjectConverter(BaseConverter):
    """An object's id in a path: anything but a fixed name.

    Without it, GET on `/api/payments/deposit` would search an object of that id, and OPTIONS would list GET.
    """

    # The router compares a converter's regex with one part of the path as a whole.
    regex = rf"(?!(?:{'|'.join(map(re.escape, find_fixed_names({one.rule for one in OPERATIONS}, 'id')))})\Z)[^/]+"
