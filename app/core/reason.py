"""An operator's reason for an action: a short text that the audit keeps."""

from __future__ import annotations

# Two or three sentences. Longer notes belong into the operator's own ticket system.
REASON_LENGTH_MAX = 500


def check_reason(reason: str) -> str:
    """Returns `reason` without blanks around it. Raises ValueError for one that is empty, too long or not printable."""
    stripped = reason.strip()
    if not stripped or len(reason) > REASON_LENGTH_MAX:
        raise ValueError(f"must have 1 to {REASON_LENGTH_MAX} characters")
    if not stripped.isprintable():
        raise ValueError("must be one line of printable characters")
    return stripped
