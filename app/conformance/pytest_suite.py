"""The kit as a class of pytest tests, for an adapter's own suite."""

from __future__ import annotations

from typing import Any

from app.conformance.case import ConformanceCase
from app.conformance.emulator import OpenEmulator
from app.conformance.kit import BuildAdapter, examine, list_applicable


class AdapterConformance:
    """One test for each case that applies to the adapter.

    A suite derives from it, sets `build_adapter` to `staticmethod(...)`, and has a fixture `open_emulator`.
    """

    build_adapter: BuildAdapter

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make a test of each case (a hook of pytest)."""
        if "conformance_case" in metafunc.fixturenames:
            metafunc.parametrize("conformance_case", list_applicable(self.build_adapter), ids=str)

    def test_conforms(self, conformance_case: ConformanceCase, open_emulator: OpenEmulator) -> None:
        """Examine one case."""
        examine(conformance_case, self.build_adapter, open_emulator)
