"""Pieces of the figures: axes with round ticks, lines over time, and the SVG around them.

Figures are inline SVG: sharp at any size, in the page's light or dark colours, which are the CSS
variables of `templates/report.html.j2`. Each says in words what it shows (`aria-label`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 40

_MOST_DOTS = 300  # more than that run into each other, and make the page heavy
_LONG_GAP = 5  # usual steps


class Axis:
    """Linear scale from values to pixels; its ends are whole ticks around `low` and `high`."""

    def __init__(
        self, low: float, high: float, start_px: float, end_px: float, *, to_the_end: bool = False
    ) -> None:
        """Map the values to `start_px` … `end_px`; with `to_the_end` it ends at `high` itself."""
        self.step = _round_step((high - low) / 5)
        self.low = self.step * math.floor(low / self.step + 1e-9)
        ticks = max(1, math.ceil((high - self.low) / self.step - 1e-9))
        self.top = high if to_the_end else self.low + self.step * ticks
        self._start, self._end = start_px, end_px

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        share = (value - self.low) / (self.top - self.low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Values of the ticks, from the lower end on."""
        count = math.floor((self.top - self.low) / self.step + 1e-9)
        return [self.low + i * self.step for i in range(count + 1)]


@dataclass(frozen=True)
class Series:
    """A line over the drive: CSS name of its colour, name in words, seconds and values."""

    css: str
    name: str
    seconds: np.ndarray
    values: np.ndarray


def lines_over_time(
    series: Sequence[Series],
    unit: str,
    description: str,
    missing: Sequence[float] = (),
    breaks: Sequence[float] = (),
) -> Markup:
    """Lines with a dot for each value, marks below for what is missing, and rules between bags."""
    height = 260
    last = max((float(s.seconds[-1]) for s in series if len(s.seconds)), default=0.0)
    most = max((float(v) for s in series for v in s.values if math.isfinite(v)), default=1.0)
    axis = Axis(0.0, max(last, *missing, 1e-3), LEFT, WIDTH - RIGHT, to_the_end=True)
    floor = height - BOTTOM
    rise = Axis(0.0, max(most, 1e-6), floor - 12, TOP)
    body = [*horizontal_grid(rise, unit), *ticks_below(axis, height, "s")]
    body += [_upright("break", axis(at), TOP, floor) for at in breaks]
    for one in series:
        body += _line(one, axis, rise)
    marks = {round(axis(at), 1) for at in missing}
    body += [_upright("missing", x, floor - 9, floor) for x in sorted(marks)]
    return svg(height, description, body)


def _line(series: Series, axis: Axis, rise: Axis) -> list[str]:
    known = np.isfinite(series.values)
    seconds, values = thinned(series.seconds[known], series.values[known], WIDTH - LEFT - RIGHT)
    points = [(axis(s), rise(v)) for s, v in zip(seconds, values, strict=True)]
    starts = [0, *_long_gaps(seconds), len(points)]
    paths = [
        " ".join(f"{x:.1f},{y:.1f}" for x, y in points[start:end])
        for start, end in pairwise(starts)
    ]
    line = [f'<polyline class="line-{series.css}" points="{path}"/>' for path in paths]
    if len(points) > _MOST_DOTS:
        return line
    dot = f'<circle class="dot-{series.css}"'
    return line + [f'{dot} cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points]


def _long_gaps(seconds: np.ndarray) -> list[int]:
    """Where values begin again after a gap of which a line would claim to know something."""
    steps = np.diff(seconds)
    if not len(steps):
        return []
    return (np.flatnonzero(steps > _LONG_GAP * np.median(steps)) + 1).tolist()


def thinned(seconds: np.ndarray, values: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of each pixel column: looks the same, and is short."""
    if len(values) <= 2 * columns:
        return seconds, values
    keep: list[int] = []
    for part in np.array_split(np.arange(len(values)), columns):
        extremes = {int(part[values[part].argmin()]), int(part[values[part].argmax()])}
        keep += sorted(extremes)
    return seconds[keep], values[keep]


def horizontal_grid(rise: Axis, unit: str = "", right: float = WIDTH - RIGHT) -> list[str]:
    """Rules with their values at the left edge, the topmost with the unit."""
    lines = []
    for value in rise.ticks():
        y = rise(value)
        text = f"{tick_text(value)}{f' {unit}' if unit and value == rise.ticks()[-1] else ''}"
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{text}</text>')
    return lines


def upright_title(text: str, left: float, rise: Axis) -> str:
    """What the values at the left are, written upwards beside the axis that begins at `left`."""
    x, y = left - 46, rise((rise.low + rise.top) / 2)
    return (
        f'<text class="middle" transform="translate({x:.1f} {y:.1f}) rotate(-90)">'
        f"{escape(text)}</text>"
    )


def ticks_below(axis: Axis, height: int, unit: str) -> list[str]:
    """Values along the lower edge, the last with the unit."""
    y = height - BOTTOM + 20
    ticks = axis.ticks()
    return [
        f'<text class="tick middle" x="{axis(value):.1f}" y="{y}">'
        f"{tick_text(value)}{f' {unit}' if value == ticks[-1] else ''}</text>"
        for value in ticks
    ]


def tick_text(value: float) -> str:
    """Short, without the noise of floating point."""
    return f"{round(value, 9):g}"


def marker(x: float, top: float, bottom: float, text: str, drop: int, to_right: bool) -> list[str]:
    """A dashed upright with words beside it, `drop` pixels below its top."""
    side, shift = ("start", 5) if to_right and x <= WIDTH - 110 else ("end", -5)
    return [
        _upright("marker", x, top, bottom),
        f'<text class="label {side}" x="{x + shift:.1f}" y="{top + 10 + drop:.1f}">'
        f"{escape(text)}</text>",
    ]


def svg(height: float, description: str, body: Sequence[str]) -> Markup:
    """The figure, as wide as the page."""
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(description)}">'
        f"{''.join(body)}</svg>"
    )


def _upright(css: str, x: float, top: float, bottom: float) -> str:
    return f'<line class="{css}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _round_step(rough: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
