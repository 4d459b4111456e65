"""Check that work is done: heartbeats, due rows, dead letters, the web process."""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor.finding import Finding, expect, fail, warn
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
    late = f"overdue: {', '.join(overdue)}; see the workers' logs"
    yield expect("Due work", not overdue, "nothing is overdue", late)
    for provider_id, problem in backlog.read_unusable(runtime).items():
        yield fail("Providers", f"{provider_id} cannot be used by a running process: {problem}")
    waiting = sum(int(value) for name, _, value in counts if name == "dead_letters_open")
    yield expect("Dead letters", not waiting, "none open", f"{waiting} open", warn)
    web = runtime.settings.public_url
    url = f"{web}/health/ready"
    yield expect("Web", url_answers(url), f"{web} answers", f"{url} does not answer from here", warn)


def _examine_sweep(age: float | None) -> Finding:
    if age is None:
        return fail("Sweep", "has never run: start beat and worker-provider")
    late = f"last ran {age:.0f} s ago: are beat and worker-provider running?"
    return expect("Sweep", age <= SWEEP_SECONDS_MAX, f"last ran {age:.1f} s ago", late)
