"""The report's figures about accuracy: classes, confusion, calibration, accuracy against time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from ..class_sets import ClassSet
from ..evaluation.bootstrap import Interval
from ..evaluation.calibration import Reliability
from .frames import Distribution
from .plot import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    horizontal_grid,
    svg,
    tick_text,
    ticks_below,
    upright_title,
)

_BAR = 12  # pixels of one model's bar
_NAMES = 150  # pixels for class names
_FEW = 1e-4  # share of the pixels below which a bin's accuracy is chance
_LETTER = 6.6  # pixels of a letter of the figures' text, on average


@dataclass(frozen=True)
class Entry:
    """One model in a figure: CSS name of its colour and its name."""

    css: str
    name: str


def class_bars(
    class_set: ClassSet,
    shares: np.ndarray,
    models: Sequence[tuple[Entry, Sequence[Interval]]],
    against: str = "truth",
) -> Markup:
    """IoU of every class as bars with their intervals, the models below each other.

    `shares` are the classes' shares of the truth, float C; `against` is what it is called.
    """
    row = max(len(models) * (_BAR + 2), 16) + 10
    right = WIDTH - 230
    axis = Axis(0.0, 100.0, _NAMES, right)
    top_row = TOP + 14
    bottom = top_row + row * class_set.num_classes
    body = [
        f'<line class="grid" x1="{axis(v):.1f}" x2="{axis(v):.1f}" y1="{top_row}" y2="{bottom}"/>'
        f'<text class="tick middle" x="{axis(v):.1f}" y="{bottom + 16}">'
        f"{tick_text(v)}{' %' if v == axis.top else ''}</text>"
        for v in axis.ticks()
    ]
    body.append(f'<text class="end" x="{WIDTH}" y="{TOP}">share of {against}</text>')
    body.append(f'<text x="{axis(100) + 10:.1f}" y="{TOP}">%, 95 % interval</text>')
    for index, name in enumerate(class_set.names):
        top = top_row + row * index + 5
        middle = top + (row - 10) / 2
        body += _class_name(name, class_set.colors[index], middle)
        body.append(
            f'<text class="end" x="{WIDTH}" y="{middle + 4:.1f}">{100 * shares[index]:.1f} %</text>'
        )
        for number, (entry, intervals) in enumerate(models):
            y = middle - len(models) * (_BAR + 2) / 2 + number * (_BAR + 2)
            body += _bar_with_interval(entry, intervals[index], axis, y)
    words = "; ".join(
        f"{entry.name}: {_in_words(class_set.names, intervals)}" for entry, intervals in models
    )
    return svg(bottom + 24, f"Intersection over union by class in per cent. {words}", body)


def _in_words(names: Sequence[str], intervals: Sequence[Interval]) -> str:
    pairs = zip(names, intervals, strict=True)
    return ", ".join(f"{name} {100 * i.value:.1f}" for name, i in pairs if np.isfinite(i.value))


def _class_name(name: str, color: tuple[int, int, int], middle: float) -> list[str]:
    red, green, blue = color
    return [
        f'<rect class="swatch-box" x="1" y="{middle - 6:.1f}" width="12" height="12" '
        f'style="fill: rgb({red} {green} {blue})"/>',
        f'<text class="label" x="20" y="{middle + 4:.1f}">{escape(shortened(name, _NAMES - 26))}'
        f"<title>{escape(name)}</title></text>",
    ]


def _bar_with_interval(entry: Entry, iou: Interval, axis: Axis, y: float) -> list[str]:
    if not np.isfinite(iou.value):
        return [f'<text x="{axis(0) + 6:.1f}" y="{y + 10:.1f}">does not occur</text>']
    length = axis(100 * iou.value) - axis(0)
    body = [
        f'<rect class="fill-{entry.css}" x="{axis(0):.1f}" y="{y:.1f}" '
        f'width="{length:.1f}" height="{_BAR}"><title>{escape(entry.name)}</title></rect>'
    ]
    text = f"{100 * iou.value:.1f}"
    if np.isfinite(iou.low):
        low, high, middle = axis(100 * iou.low), axis(100 * iou.high), y + _BAR / 2
        body.append(
            f'<path class="whisker" d="M{low:.1f} {middle - 3:.1f}v6M{high:.1f} {middle - 3:.1f}v6'
            f'M{low:.1f} {middle:.1f}H{high:.1f}"/>'
        )
        text += f"  ({100 * iou.low:.1f} to {100 * iou.high:.1f})"
    x = axis(100) + 10
    body.append(f'<text class="label" x="{x:.1f}" y="{y + 10:.1f}">{text}</text>')
    return body


def heat_map(class_set: ClassSet, confusion: np.ndarray, against: str = "truth") -> Markup:
    """Confusion C×(C+1) as per cent of each true class; classes without truth are left out."""
    totals = confusion.sum(axis=1)
    rows = [c for c in range(class_set.num_classes) if totals[c]]
    columns = [c for c in range(class_set.num_classes + 1) if confusion[:, c].any() or c in rows]
    names = [*class_set.names, "void"]
    width = min(64.0, (WIDTH - _NAMES - 60) / max(1, len(columns)))
    height, head = 24, 84
    body = [f'<text x="0" y="{head - 8}">{against} ↓ · prediction →</text>']
    for position, column in enumerate(columns):
        x = _NAMES + (position + 0.5) * width
        body.append(
            f'<text class="label" transform="translate({x:.1f} {head - 8}) rotate(-40)">'
            f"{escape(shortened(names[column], 100))}</text>"
        )
    for line, row in enumerate(rows):
        y = head + line * height
        body += _class_name(names[row], class_set.colors[row], y + height / 2)
        for position, column in enumerate(columns):
            share = confusion[row, column] / totals[row]
            words = f"{100 * share:.1f} % of {names[row]} taken for {names[column]}"
            body += _cell(_NAMES + position * width, y, width, height, share, words)
    return svg(
        head + height * len(rows) + 4,
        "Confusion matrix: " + _main_confusions(confusion, names),
        body,
    )


def _cell(x: float, y: float, width: float, height: float, share: float, words: str) -> list[str]:
    body = [
        f'<g><title>{escape(words)}</title><rect class="cell" x="{x:.1f}" y="{y:.1f}" '
        f'width="{width - 1:.1f}" height="{height - 1}" fill-opacity="{share**0.7:.3f}"/>'
    ]
    if share >= 0.005:
        css = "on-cell" if share > 0.45 else "label-cell"
        body.append(
            f'<text class="{css} middle" x="{x + width / 2:.1f}" y="{y + height / 2 + 4:.1f}">'
            f"{100 * share:.0f}</text>"
        )
    return [*body, "</g>"]


def _main_confusions(confusion: np.ndarray, names: Sequence[str]) -> str:
    """The three largest confusions of a class with another, in words."""
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shares = confusion / totals
    shares[np.arange(len(shares)), np.arange(len(shares))] = 0
    found = []
    for flat in np.argsort(shares, axis=None)[::-1][:3]:
        row, column = np.unravel_index(flat, shares.shape)
        if shares[row, column] > 0:
            found.append(
                f"{100 * shares[row, column]:.0f} % of {names[row]} is taken for {names[column]}"
            )
    return ", ".join(found) or "no pixel is taken for another class"


def reliability(models: Sequence[tuple[Entry, Reliability]]) -> Markup:
    """Left: accuracy against confidence (the diagonal is honest); right: share of the pixels."""
    height, half = 360, 420
    floor = height - BOTTOM
    rise = Axis(0.0, 100.0, floor, TOP)
    left = Axis(0.0, 100.0, LEFT, half)
    right = Axis(0.0, 100.0, half + 100, WIDTH - RIGHT)
    most = max(float((100 * c.pixels / max(1, c.pixels.sum())).max()) for _, c in models)
    often = Axis(0.0, most, floor, TOP)
    body = [*horizontal_grid(rise, "%", half), *ticks_below(left, height, "%")]
    body.append(
        f'<line class="marker" x1="{left(0)}" y1="{rise(0)}" x2="{left(100)}" y2="{rise(100)}"/>'
    )
    body += _shifted_grid(often, half + 100)
    body += ticks_below(right, height, "%")
    for axis in (left, right):
        body.append(f'<text class="middle" x="{axis(50):.1f}" y="{height - 4}">confidence</text>')
    body.append(upright_title("accuracy", LEFT, rise))
    body.append(upright_title("share of the pixels", half + 100, often))
    for entry, curve in models:
        known = np.flatnonzero(curve.pixels > _FEW * curve.pixels.sum())
        sure, share = 100 * curve.confidence, 100 * curve.pixels / max(1, curve.pixels.sum())
        points = [(left(sure[b]), rise(100 * curve.accuracy[b])) for b in known]
        body += _dotted_line(entry.css, points)
        body += _dotted_line(entry.css, [(right(sure[b]), often(share[b])) for b in known])
    words = "; ".join(
        f"{entry.name}: expected calibration error {100 * curve.error():.1f} %"
        for entry, curve in models
    )
    return svg(height, f"Accuracy against confidence. {words}", body)


def _shifted_grid(rise: Axis, left: float) -> list[str]:
    lines = []
    for value in rise.ticks():
        y, unit = rise(value), " %" if value == rise.ticks()[-1] else ""
        lines.append(
            f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick end" x="{left - 8}" y="{y + 4:.1f}">{tick_text(value)}{unit}</text>'
        )
    return lines


def _dotted_line(css: str, points: Sequence[tuple[float, float]]) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle class="dot-{css}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return [f'<polyline class="line-{css}" points="{path}"/>', *dots]


def accuracy_against_time(models: Sequence[tuple[Entry, Interval, Distribution]]) -> Markup:
    """Each model at its median milliseconds and mIoU, with 95th percentile and 95 % interval."""
    height = 320
    floor = height - BOTTOM
    values = [100 * v for _, i, _ in models for v in (i.value, i.low, i.high) if np.isfinite(v)]
    rise = Axis(min(values) - 0.5, max(values) + 0.5, floor, TOP + 6)
    axis = Axis(0.0, max(d.p95 for _, _, d in models), LEFT, WIDTH - RIGHT)
    body = [*horizontal_grid(rise, "%"), *ticks_below(axis, height, "ms")]
    body.append(
        f'<text class="middle" x="{(LEFT + WIDTH) / 2}" y="{height - 4}">milliseconds per frame: '
        "median (dot) to 95th percentile</text>"
    )
    body.append(upright_title("mIoU", LEFT, rise))
    taken: list[tuple[float, float, float]] = []
    for entry, iou, ms in sorted(models, key=lambda model: -model[1].value):
        x, y = axis(ms.median), rise(100 * iou.value)
        path = f"M{x:.1f} {y:.1f}H{axis(ms.p95):.1f}"
        if np.isfinite(iou.low):
            path += f"M{x:.1f} {rise(100 * iou.low):.1f}V{rise(100 * iou.high):.1f}"
        body.append(f'<path class="line-{entry.css}" d="{path}"/>')
        body.append(f'<circle class="dot-{entry.css}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
        body.append(_placed_label(entry.name, x, y, taken))
    words = "; ".join(f"{e.name} {100 * i.value:.1f} % in {d.median:.1f} ms" for e, i, d in models)
    return svg(height, f"Mean IoU against median milliseconds per frame: {words}", body)


def _placed_label(name: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """A name above its dot, right or left of it, moved up until it covers no other."""
    width = _LETTER * len(name) + 8
    start = x + 9 if x + 9 + width < WIDTH else x - 9 - width
    height = y - 9
    while any(abs(height - h) < 14 and start < b and a < start + width for a, b, h in taken):
        height -= 4
    taken.append((start, start + width, height))
    return f'<text class="label" x="{start:.1f}" y="{height:.1f}">{escape(name)}</text>'


def shortened(name: str, width: float) -> str:
    """The name, cut to a width in pixels."""
    letters = int(width / _LETTER)
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
