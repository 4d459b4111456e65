"""The conformance kit: all cases, and how they are run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from app.conformance.case import ConformanceCase, ConformanceFailure
from app.conformance.cases import (
    authenticity,
    closing,
    creating,
    listing,
    lookups,
    money,
    own_refunds,
    secrecy,
    stories,
)
from app.conformance.emulator import OpenEmulator
from app.conformance.trial import open_trial
from app.providers import Adapter, Capabilities

BuildAdapter = Callable[[frozenset[str]], Adapter]

_MODULES = (creating, lookups, listing, closing, money, authenticity, stories, own_refunds, secrecy)
CASES: tuple[ConformanceCase, ...] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, ConformanceCase)
)
# Cases mostly wait: for answers, and one for the end of a call that has none.
_THREADS = 4


class CaseState(StrEnum):
    """What came of a case."""

    PASSED = "pass"
    FAILED = "FAIL"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case; `detail` says why it failed, or why it does not apply."""

    case: ConformanceCase
    state: CaseState
    detail: str = ""


def read_capabilities(build: BuildAdapter) -> Capabilities:
    """Return what an adapter says that it can."""
    return build(frozenset()).capabilities


def list_applicable(build: BuildAdapter) -> list[ConformanceCase]:
    """Return the cases that apply to an adapter with its capabilities."""
    capabilities = read_capabilities(build)
    return [case for case in CASES if case.excuse(capabilities) is None]


def examine(case: ConformanceCase, build: BuildAdapter, open_emulator: OpenEmulator) -> None:
    """Examine one case. Raise ConformanceFailure, or whatever the adapter raises against the rules."""
    with open_trial(build, open_emulator) as trial:
        case.examine(trial)


def run_case(case: ConformanceCase, build: BuildAdapter, open_emulator: OpenEmulator) -> CaseResult:
    """Return what came of one case."""
    excuse = case.excuse(read_capabilities(build))
    if excuse is not None:
        return CaseResult(case, CaseState.NOT_APPLICABLE, excuse)
    try:
        examine(case, build, open_emulator)
    except ConformanceFailure as failure:
        return CaseResult(case, CaseState.FAILED, str(failure))
    except Exception as error:  # an adapter may raise anything, and the other cases are run all the same
        return CaseResult(case, CaseState.FAILED, f"{type(error).__name__}: {error}")
    return CaseResult(case, CaseState.PASSED)


def run_cases(build: BuildAdapter, open_emulator: OpenEmulator) -> Iterator[CaseResult]:
    """Run all cases, several at a time; yield what came of each, in their order."""
    with ThreadPoolExecutor(_THREADS) as threads:
        yield from threads.map(functools.partial(run_case, build=build, open_emulator=open_emulator), CASES)
