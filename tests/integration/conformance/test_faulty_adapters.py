"""The kit finds each fault that an adapter is given, and no case is without a fault that it finds."""

from __future__ import annotations

from typing import Any

import pytest

from app.conformance.kit import CASES, CaseState, run_case
from app.conformance.subjects import SUBJECTS, open_at
from tests.integration.conformance.faulty_adapters import FAULTY
from tests.integration.conformance.faulty_calls import CALLS
from tests.integration.conformance.faulty_refunds import REFUNDS
from tests.integration.conformance.faulty_webhooks import WEBHOOKS
from tests.integration.sandbox.sandbox_process import SandboxProcess

BY_NAME = {case.name: case for case in CASES}
FAULTS: dict[type[Any], tuple[str, ...]] = {**FAULTY, **CALLS, **REFUNDS, **WEBHOOKS}
NAMES: dict[Any, str] = {build: name for name, build in SUBJECTS.items()}


@pytest.mark.parametrize(("faulty", "name"), [(faulty, name) for faulty, names in FAULTS.items() for name in names])
def test_a_fault_is_found(sandbox: SandboxProcess, faulty: type[Any], name: str) -> None:
    subject = next(NAMES[base] for base in faulty.__mro__ if base in NAMES)
    result = run_case(BY_NAME[name], faulty, open_at(subject, sandbox.url))
    assert result.state is CaseState.FAILED, result
    assert result.detail


def test_each_case_finds_a_fault() -> None:
    assert BY_NAME.keys() - {name for names in FAULTS.values() for name in names} == set()
