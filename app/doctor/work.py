"""Checks that work is done: heartbeats, due rows, dead letters, the web process."""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor.finding import Finding, fail, ok, warn
from app.local.readiness import url_answers
from app.runtime.runtime import Runtime
from app.services.upkeep import backlog

SWEEP_SECONDS_MAX = 15.0  # The sweep runs every two seconds: seven runs are missing.


def examine_work(runtime: Runtime) -> Iterator[Finding]:
    """Yield findings about outstanding work. Raise SQLAlchemyError where the database cannot be reached."""
    counts = backlog.read_counts(runtime)
    ages = {label: value for name, label, value in counts if name == "heartbeat_age_seconds"}
    yield _examine_sweep(ages.get("sweep"))
    overdue = backlog.find_overdue(backlog.read_work(runtime))
    if overdue:
        yield fail("Due work", f"overdue: {', '.join(overdue)}; see the workers' logs")
    else:
        yield ok("Due work", "nothing is overdue")
    for provider_id, problem in backlog.read_unusable(runtime).items():
        yield fail("Providers", f"{provider_id} cannot be used by a running process: {problem}")
    waiting = sum(int(value) for name, _, value in counts if name == "dead_letters_open")
    if waiting:
        yield warn("Dead letters", f"{waiting} open")
    else:
        yield ok("Dead letters", "none open")
    web = runtime.settings.public_url
    if url_answers(f"{web}/health/ready"):
        yield ok("Web", f"{web} answers")
    else:
        yield warn("Web", f"{web}/health/ready does not answer from here")


def _examine_sweep(age: float | None) -> Finding:
    if age is None:
        return fail("Sweep", "has never run: start beat and worker-provider")
    if age > SWEEP_SECONDS_MAX:
        return fail("Sweep", f"last ran {age:.0f} s ago: are beat and worker-provider running?")
    return ok("Sweep", f"last ran {age:.1f} s ago")
