"""Every adapter passes every case of the conformance kit that applies to it."""

from __future__ import annotations

import pytest

from app.conformance.emulator import OpenEmulator
from app.conformance.pytest_suite import AdapterConformance
from app.conformance.subjects import SUBJECTS, open_at
from tests.integration.sandbox.sandbox_process import SandboxProcess


def suite_of(name: str) -> type[AdapterConformance]:
    """Return the tests of one adapter, against the sandbox."""

    class Suite(AdapterConformance):
        build_adapter = staticmethod(SUBJECTS[name])

        @pytest.fixture
        def open_emulator(self, sandbox: SandboxProcess) -> OpenEmulator:
            return open_at(name, sandbox.url)

    Suite.__name__ = Suite.__qualname__ = f"Test{name.title()}"
    return Suite


for _name in SUBJECTS:
    globals()[f"Test{_name.title()}"] = suite_of(_name)
