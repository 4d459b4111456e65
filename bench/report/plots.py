"""Small SVG charts: lines over a logarithmic axis, and bars of percentiles.

Heights start at zero, so that differences are not exaggerated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
TICKS = 5
COLOURS = ("#2563eb", "#d97706", "#059669", "#be185d")


def draw_line(title: str, across: str, up: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a chart of `points`; x is on a logarithmic axis, on which 0 has a place of its own at the left."""
    ceiling = _round_up(max(y for _, y in points))
    places = [math.log10(x) if x > 0 else None for x, _ in points]
    known = [place for place in places if place is not None]
    low = min(known) - (1 if None in places else 0)
    span = (max(known) - low) or 1.0
    spots = [
        (LEFT + (WIDTH - LEFT - RIGHT) * ((low if place is None else place) - low) / span, _height(y, ceiling))
        for place, (_, y) in zip(places, points, strict=True)
    ]
    marks = [f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}" fill="none" stroke="{COLOURS[0]}" '
             'stroke-width="2"/>']  # fmt: skip
    for (x, y), (value, height) in zip(spots, points, strict=True):
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/>')
        marks.append(_text(x, HEIGHT - BOTTOM + 18, _short(value), "middle"))
        marks.append(_text(x, y - 9, _short(height), "middle"))
    return _frame(title, across, up, ceiling, marks)


def draw_bars(title: str, up: str, series: Mapping[str, Mapping[str, float]]) -> str:
    """Return a chart with a group of bars for each percentile, one bar for each of `series`."""
    groups = list(next(iter(series.values())))
    ceiling = _round_up(max(value for values in series.values() for value in values.values()))
    step = (WIDTH - LEFT - RIGHT) / len(groups)
    width = step * 0.8 / len(series)
    marks = []
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for group, key in enumerate(groups):
            x, y = LEFT + step * group + step * 0.1 + width * number, _height(values[key], ceiling)
            marks.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{HEIGHT - BOTTOM - y:.1f}" '
                         f'fill="{colour}"/>')  # fmt: skip
            marks.append(_text(x + width / 2, y - 4, _short(values[key]), "middle"))
        marks.append(_text(LEFT + 150 * number, HEIGHT - 8, name, "start", colour))
    marks += [_text(LEFT + step * (n + 0.5), HEIGHT - BOTTOM + 18, key, "middle") for n, key in enumerate(groups)]
    return _frame(title, "", up, ceiling, marks)


def _frame(title: str, across: str, up: str, ceiling: float, marks: Sequence[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="15" fill="#111827">{escape(title)}</text>',
    ]
    for tick in range(TICKS + 1):
        value = ceiling * tick / TICKS
        y = _height(value, ceiling)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        lines.append(_text(LEFT - 6, y + 4, _short(value), "end"))
    lines.append(_text(8, TOP - 8, up, "start"))
    lines.append(_text(WIDTH - RIGHT, HEIGHT - 8, across, "end"))
    return "\n".join([*lines, *marks, "</svg>", ""])


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#374151") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _height(value: float, ceiling: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / ceiling


def _round_up(value: float) -> float:
    """Return the next number that divides well into TICKS, with room for the label of the highest mark."""
    magnitude: float = 10.0 ** math.floor(math.log10(value or 1.0))
    steps = (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15)
    return next(magnitude * step for step in steps if magnitude * step >= value * 1.05)


def _short(value: float) -> str:
    for limit, letter in ((1e6, "m"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"
