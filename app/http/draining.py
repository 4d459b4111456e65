"""Whether this process is about to stop, and what it does first.

A process that drains reports `draining` to its health check and answers requests that wait; then it stops listening.
"""

from __future__ import annotations

from collections.abc import Callable

_callbacks: list[Callable[[], object]] = []
_has_begun = False


def has_begun() -> bool:
    """Return whether this process is draining."""
    return _has_begun


def at_begin(callback: Callable[[], object]) -> None:
    """Call `callback` once when the drain begins; at once if it has begun. It must neither block nor raise."""
    if _has_begun:
        callback()
    else:
        _callbacks.append(callback)


def begin() -> None:
    """Start the drain; a second call changes nothing."""
    global _has_begun
    if _has_begun:
        return
    _has_begun = True
    for callback in _callbacks:
        callback()
