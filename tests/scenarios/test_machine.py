"""Random lives of deposits: the services on PostgreSQL against a model, compared after every step.

`SLUICE_TEST_PROFILE=long` in the environment lives many more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from testbed.servers import Servers
from tests.scenarios.lives import Lives

IS_LONG = os.environ.get("SLUICE_TEST_PROFILE") == "long"
# Under a minute on two busy cores; the long profile is for a night.
EXAMPLES, STEPS = (5_000, 60) if IS_LONG else (60, 30)


@pytest.fixture
def machine(servers: Servers) -> Iterator[type[Lives]]:
    with servers.open_databases() as databases, databases.open_runtime() as runtime:
        Lives.runtime, Lives.databases = runtime, databases
        yield Lives


# Hypothesis shrinks a failure before it reports it, for up to five minutes.
@pytest.mark.slow
@pytest.mark.timeout(0 if IS_LONG else 420)
def test_lives_are_as_the_model_says(machine: type[Lives]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
        ),
    )
