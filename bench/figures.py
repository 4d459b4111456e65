"""Figures of several rounds, as `sluice bench --json` prints them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]


class BenchFailed(RuntimeError):
    """A part of the run did not do what is measured, so that its figure would mean nothing."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` (0 to 1) of them do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -int(-share * len(ranked) // 1) - 1))]


def summarize(rounds: Sequence[float], unit: str) -> Figure:
    """Return the median of `rounds`, their spread (largest minus smallest) and themselves."""
    return {
        "median": short(statistics.median(rounds)),
        "spread": short(max(rounds) - min(rounds)),
        "unit": unit,
        "rounds": [short(value) for value in rounds],
    }


def compare(measured: Sequence[float], baseline: Sequence[float], goal: float | None, names: tuple[str, str]) -> Figure:
    """Return the ratio of two rates by round, and both rates (per second) under `names`."""
    ratios = [ours / theirs for ours, theirs in zip(measured, baseline, strict=True)]
    figure = {**summarize(ratios, "ratio"), "goal": goal}
    figure[names[0]] = summarize(measured, "1/s")
    figure[names[1]] = summarize(baseline, "1/s")
    if goal is not None:
        figure["met"] = statistics.median(ratios) >= goal
    return figure


def at_most(figure: Figure, goal: float) -> Figure:
    """Return a figure whose goal is a value that it should not exceed."""
    return {**figure, "goal": {"at_most": goal}, "met": figure["median"] <= goal}


def latency(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and the worst of some latencies in milliseconds."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: short(percentile(milliseconds, share)) for name, share in shares.items()}


def describe_latency(rounds: Sequence[Sequence[float]], goal: Mapping[str, float]) -> Figure:
    """Return p50 and p99 by round, and the latency of all rounds together as `idle`; all in milliseconds."""
    p50 = summarize([percentile(values, 0.5) for values in rounds], "ms")
    p99 = summarize([percentile(values, 0.99) for values in rounds], "ms")
    met = p50["median"] <= goal["p50"] and p99["median"] <= goal["p99"]
    idle = latency([value for values in rounds for value in values])
    return {**p50, "p99": p99, "goal": dict(goal), "met": met, "idle": idle}


def short(value: float) -> float:
    """Four significant digits: more would claim a precision that no round has."""
    return float(f"{value:.4g}")
