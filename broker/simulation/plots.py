"""Plots as inline SVG: steps over an x axis, one line for each policy. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 26, 12, 46


@dataclass(frozen=True)
class Line:
    """One policy's values; `kind` is the class that colours it."""

    title: str
    kind: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """Where values are shown: from `low` to `high`, with these ticks and their words."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    title: str
    scale: Callable[[float], float] = float

    def share(self, value: float) -> float:
        """How far along the axis the value lies, 0 to 1."""
        low, high = self.scale(self.low), self.scale(self.high)
        at = (self.scale(min(self.high, max(self.low, value))) - low) / (high - low)
        return min(1.0, max(0.0, at))


def upward(values: Sequence[float], title: str) -> Axis:
    """An axis from 0 to the largest value, 1 at least, with round ticks."""
    most = max([*values, 1.0])
    step = 10 ** math.floor(math.log10(most))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if most / s <= 6)
    ticks = [(n * step, f"{n * step:g}") for n in range(math.ceil(most / step) + 1)]
    return Axis(0, ticks[-1][0], ticks, title)


def plot(lines: Sequence[Line], x: Axis, y: Axis, label: str, bands: Sequence[tuple[float, float, str]] = ()) -> str:
    """The plot; `bands` are stretches of the x axis to point out, with their words."""
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for start, end, words in bands:
        a, b = _x(x, start), _x(x, end)
        where = f'x="{a:.1f}" y="{TOP}" width="{max(1.0, b - a):.1f}" height="{HEIGHT - TOP - BOTTOM}"'
        parts.append(f'<rect class="band" {where}><title>{escape(words)}</title></rect>')
    for value, words in y.ticks:
        at = _y(y, value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(words)}</text>')
    for value, words in x.ticks:
        parts.append(f'<text x="{_x(x, value):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{words}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{x.title}</text>')
    parts += [_line(line, x, y) for line in lines]
    return "\n".join([*parts, "</svg>"])


def _line(line: Line, x: Axis, y: Axis) -> str:
    points = " ".join(f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in zip(line.x, line.y, strict=True))
    return f'<polyline class="line {line.kind}" points="{points}"><title>{escape(line.title)}</title></polyline>'


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM)
