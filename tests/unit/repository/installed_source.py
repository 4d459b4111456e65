"""Parameters and source text of library functions, for the checks of what the product relies on."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(thing: Any) -> str:
    return re.sub(r"\s+", " ", inspect.getsource(thing))
