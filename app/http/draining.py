"""The drain of a process that is about to stop.

It reports `draining` to its health check and answers its long polls; then it stops listening.
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
