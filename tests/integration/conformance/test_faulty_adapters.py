"""The kit finds each fault that an adapter is given."""

from __future__ import annotations

import pytest

from app.conformance.kit import CASES, CaseState, run_case
from app.conformance.subjects import open_at
from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.adapters.stripe import StripeAdapter
from tests.integration.conformance.faulty_adapters import FAULTY
from tests.integration.sandbox.sandbox_process import SandboxProcess

BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize(("faulty", "name"), [(faulty, name) for faulty, names in FAULTY.items() for name in names])
def test_a_fault_is_found(
    sandbox: SandboxProcess, faulty: type[SandboxAdapter] | type[StripeAdapter], name: str
) -> None:
    emulator = open_at("stripe" if issubclass(faulty, StripeAdapter) else "sandbox", sandbox.url)
    result = run_case(BY_NAME[name], faulty, emulator)
    assert result.state is CaseState.FAILED, result
    assert result.detail
