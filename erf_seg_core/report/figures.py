"""The report's figures about frames and their times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from .frames import Distribution, FrameTotals
from .plot import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, horizontal_grid, marker, svg, ticks_below

_HISTOGRAM_BINS = 40

FATES: dict[str, str] = {
    "labelled": "labelled",
    "dropped": "dropped for a newer frame",
    "too_old": "too old on arrival",
    "malformed": "malformed",
    "failed": "failed in the network",
    "unfinished": "in the node when it stopped",
    "lost_to_node": "image lost on the way to the node",
    "lost_from_node": "label lost on the way back",
}
"""Fields of `FrameTotals` in words, in the order in which they are drawn."""

PARTS: dict[str, str] = {
    "age_on_arrival": "transport",
    "waiting": "waiting",
    "convert": "convert",
    "preprocess": "preprocess",
    "network": "network",
    "postprocess": "postprocess",
    "publish": "publish",
}
"""The consecutive parts of a frame's time from stamp to label, as the timing names them."""


def fates_bar(totals: FrameTotals) -> Markup:
    """One bar for all recorded frames, divided by what became of them."""
    counts = totals.to_dict()
    parts = [(name, words, counts[name]) for name, words in FATES.items() if counts[name] > 0]
    words = ", ".join(f"{count} {text}" for _, text, count in parts)
    return _stacked_bar(
        [(f"fate-{name}", text, count, str(count)) for name, text, count in parts],
        f"Of {totals.recorded} frames: {words}",
    )


def parts_bar(latencies: Mapping[str, Distribution], longest_ms: float | None = None) -> Markup:
    """One bar for a typical frame, divided into the medians of its parts.

    `longest_ms` is what the page's width stands for, so that bars below each other compare.
    """
    parts = [
        (f"part-{name}", words, max(0.0, latencies[name].median))
        for name, words in PARTS.items()
        if name in latencies
    ]
    words = ", ".join(f"{text} {ms:.1f} ms" for _, text, ms in parts)
    return _stacked_bar(
        [(css, text, ms, f"{ms:.1f}") for css, text, ms in parts],
        f"Median milliseconds: {words}",
        longest_ms,
    )


def latency_histogram(
    values: Sequence[float], spread: Distribution, longest_ms: float, css: str = "model0"
) -> Markup:
    """How many frames took how long, up to `longest_ms`; the last bar holds all that took longer.

    `longest_ms` is common to the histograms of several models, so that they compare; `css` names
    the colour.
    """
    axis = Axis(0.0, longest_ms, LEFT, WIDTH - RIGHT)
    step = axis.top / _HISTOGRAM_BINS
    counts = [0] * _HISTOGRAM_BINS
    for value in values:
        counts[min(int(max(0.0, value) / step), _HISTOGRAM_BINS - 1)] += 1
    height = 220
    floor = height - BOTTOM
    rise = Axis(0.0, max(counts), floor, TOP)
    body = [*horizontal_grid(rise), *ticks_below(axis, height, "ms")]
    for i, count in enumerate(counts):
        if count:
            left, right = axis(i * step), axis((i + 1) * step)
            body.append(
                f'<rect class="fill-{css}" x="{left + 0.5:.1f}" width="{right - left - 1:.1f}" '
                f'y="{rise(count):.1f}" height="{rise(0) - rise(count):.1f}"/>'
            )
    apart = axis(spread.p95) - axis(spread.median) > 90
    body += marker(axis(spread.median), TOP, floor, f"median {spread.median:.0f} ms", 0, apart)
    body += marker(
        axis(min(spread.p95, axis.top)), TOP, floor, f"95 % {spread.p95:.0f} ms", 16, True
    )
    beyond = sum(value > axis.top for value in values)
    if beyond:
        text = f"{beyond} longer, up to {spread.max:.0f} ms"
        body.append(f'<text class="label end" x="{WIDTH - RIGHT}" y="{TOP + 44}">{text}</text>')
    return svg(
        height,
        f"Histogram of milliseconds over {len(values)} frames: median {spread.median:.1f}, "
        f"95th percentile {spread.p95:.1f}, maximum {spread.max:.1f}",
        body,
    )


def longest_shown_ms(spreads: Sequence[Distribution]) -> float:
    """Where histograms should end: one slow first frame must not squeeze all the others."""
    longest = max(d.max for d in spreads)
    usual = max(d.p95 for d in spreads)
    return longest if longest <= 3 * usual or usual <= 0 else 1.5 * usual


def _stacked_bar(
    parts: Sequence[tuple[str, str, float, str]], description: str, whole: float | None = None
) -> Markup:
    """Parts as (CSS class, words, length, number); words only where they fit, all in the title."""
    total = whole or math.fsum(length for _, _, length, _ in parts) or 1.0
    x, body = 0.0, []
    for css, words, length, number in parts:
        width = WIDTH * length / total
        body.append(
            f'<g><title>{escape(words)}: {escape(number)}</title><rect class="{css}" x="{x:.1f}" '
            f'y="0" width="{max(width - 1, 0.5):.1f}" height="34"/>'
        )
        if width > 9 * len(number) + 8:
            body.append(
                f'<text class="on-bar middle" x="{x + width / 2:.1f}" y="22">'
                f"{escape(number)}</text>"
            )
        body.append("</g>")
        x += width
    return svg(34, description, body)
