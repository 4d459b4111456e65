"""Run all checks, area by area; an area that cannot be checked is a finding itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.doctor.broker import examine_celery, examine_redis
from app.doctor.finding import Finding, fail
from app.doctor.packages import examine_adapters, examine_packages
from app.doctor.postgres import examine_postgres
from app.doctor.secrets import examine_exposure, examine_secrets
from app.doctor.work import examine_work
from app.runtime.runtime import Runtime

AREAS: dict[str, Callable[[Runtime], Iterable[Finding]]] = {
    "Installation": lambda runtime: itertools.chain(examine_packages(), examine_adapters(runtime.registry)),
    "PostgreSQL": examine_postgres,
    "Redis": lambda runtime: examine_redis(runtime.settings),
    "Celery": lambda runtime: examine_celery(runtime.settings),
    "Work": examine_work,
    "Secrets": examine_secrets,
    "Exposure": lambda runtime: examine_exposure(runtime.settings),
}


def examine(runtime: Runtime, areas: Iterable[str] = tuple(AREAS)) -> Iterator[tuple[str, Finding]]:
    """Yield every finding with its area; areas that others depend on come first."""
    for area in areas:
        try:
            for finding in AREAS[area](runtime):
                yield area, finding
        except SQLAlchemyError as error:
            reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
            yield area, fail(area, f"the database cannot be queried: {reason}")
