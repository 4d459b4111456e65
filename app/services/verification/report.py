"""The report of a proof, and how far the books of a tenant are proved."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.core.payment import format_time
from app.services.verification.chain import ChainPosition
from app.services.verification.checks import Violation

Mode = Literal["full", "incremental"]

# Rows kept in a report for each broken invariant: enough to find the cause. All are counted.
ROWS_KEPT = 50


@dataclass(slots=True)
class BrokenInvariant:
    """A statement of an invariant that is false: the number of rows that break it, and the first of these."""

    invariant: str
    statement: str
    count: int = 0
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class TenantProgress:
    """How far one tenant's books are proved; `is_clean` is false once a proof found a violation."""

    chains: dict[int, ChainPosition] = field(default_factory=dict)
    # The last number proved before, and the last number given when this proof began.
    notification_number: int = 0
    numbered: int = 0
    webhooks_until: datetime.datetime = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    is_clean: bool = True


@dataclass(slots=True)
class ProofReport:
    """The result of a proof; it covers all of the books only if `is_complete`."""

    mode: Mode
    tenant_id: uuid.UUID | None
    started_at: datetime.datetime
    seconds: float = 0.0
    is_complete: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    broken: dict[tuple[str, str], BrokenInvariant] = field(default_factory=dict)
    progress: dict[uuid.UUID, TenantProgress] = field(default_factory=dict)

    def count(self, name: str, rows: int) -> None:
        """Add to the number of rows read, by the name of the rows."""
        self.counts[name] = self.counts.get(name, 0) + rows

    def add(self, violations: Sequence[Violation]) -> bool:
        """Add the violations that a check found; return whether there were none."""
        for violation in violations:
            name = violation.invariant, violation.statement
            broken = self.broken.setdefault(name, BrokenInvariant(*name))
            row = {"subject": violation.subject, "detail": violation.detail}
            if row not in broken.rows:
                broken.count += 1
                if len(broken.rows) < ROWS_KEPT:
                    broken.rows.append(row)
        return not violations

    @property
    def is_whole(self) -> bool:
        """Whether the rows read show no violation."""
        return not self.broken

    @property
    def in_order(self) -> list[BrokenInvariant]:
        """The broken invariants by their number and statement."""
        return sorted(self.broken.values(), key=lambda each: (int(each.invariant[1:]), each.statement))

    @property
    def invariants(self) -> list[str]:
        """The names of the broken invariants, in their order."""
        return list(dict.fromkeys(each.invariant for each in self.in_order))

    @property
    def verdict(self) -> str:
        """The result in one line."""
        read = ", ".join(f"{rows:,} {name}" for name, rows in self.counts.items() if rows) or "nothing new"
        took = f"{self.mode} proof in {self.seconds:.1f} s: {read}"
        if not self.is_whole:
            return f"BROKEN: {', '.join(self.invariants)} ({took})"
        return f"The books hold ({took})" if self.is_complete else f"The books hold so far; time was up ({took})"

    def as_json(self) -> dict[str, Any]:
        """Return the report as one JSON document."""
        return {
            "ok": self.is_whole,
            "verdict": self.verdict,
            "mode": self.mode,
            "is_complete": self.is_complete,
            "started_at": format_time(self.started_at),
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "broken": [
                {"invariant": each.invariant, "what": each.statement, "count": each.count, "rows": each.rows}
                for each in self.in_order
            ],
        }
