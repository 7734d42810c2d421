"""The report's figures as inline SVG: sharp at any size, in the page's light or dark colours.

Every figure says in words what it shows (`role="img"`, `aria-label`); the numbers are in tables
beside it. Colours are the CSS variables of `templates/report.html.j2`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from .frames import NS_PER_S, Distribution, Fate, FrameOutcome, FrameTotals

WIDTH = 960
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 40
_HISTOGRAM_BINS = 40

FATES: dict[str, str] = {
    "labelled": "labelled",
    "dropped": "dropped for a newer frame",
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


def parts_bar(latencies: Mapping[str, Distribution]) -> Markup:
    """One bar for a typical frame, from stamp to label, divided into the medians of its parts."""
    parts = [
        (f"part-{name}", words, max(0.0, latencies[name].median))
        for name, words in PARTS.items()
        if name in latencies
    ]
    words = ", ".join(f"{text} {ms:.1f} ms" for _, text, ms in parts)
    return _stacked_bar(
        [(css, text, ms, f"{ms:.1f}") for css, text, ms in parts],
        f"Median milliseconds from stamp to label: {words}",
    )


def latency_histogram(frames: Sequence[FrameOutcome], end_to_end: Distribution) -> Markup:
    """How many frames took how long from stamp to label, with median and 95th percentile."""
    values = _finite(frames, "end_to_end")
    axis = _Axis(0.0, max(values), _LEFT, WIDTH - _RIGHT)
    step = axis.top / _HISTOGRAM_BINS
    counts = [0] * _HISTOGRAM_BINS
    for value in values:
        counts[min(int(max(0.0, value) / step), _HISTOGRAM_BINS - 1)] += 1
    height = 240
    rise = _Axis(0.0, max(counts), height - _BOTTOM, _TOP)
    body = [*_horizontal_grid(rise), *_ticks_below(axis, height, "ms")]
    for i, count in enumerate(counts):
        if count:
            left, right = axis(i * step), axis((i + 1) * step)
            body.append(
                f'<rect class="bar" x="{left + 0.5:.1f}" width="{right - left - 1:.1f}" '
                f'y="{rise(count):.1f}" height="{rise(0) - rise(count):.1f}"/>'
            )
    apart = axis(end_to_end.p95) - axis(end_to_end.median) > 90
    body += _marker(axis(end_to_end.median), height, f"median {end_to_end.median:.0f} ms", 0, apart)
    body += _marker(axis(end_to_end.p95), height, f"95 % {end_to_end.p95:.0f} ms", 16, True)
    return _svg(
        height,
        f"Histogram of milliseconds from stamp to label over {len(values)} frames: "
        f"median {end_to_end.median:.1f}, 95th percentile {end_to_end.p95:.1f}, "
        f"maximum {end_to_end.max:.1f}",
        body,
    )


def timeline(frames: Sequence[FrameOutcome]) -> Markup:
    """Milliseconds from stamp to arrival and to label over the drive; missing frames below."""
    start_ns = frames[0].stamp_ns
    seconds = [(frame.stamp_ns - start_ns) / NS_PER_S for frame in frames]
    height = 260
    axis = _Axis(0.0, max(seconds[-1], 1e-3), _LEFT, WIDTH - _RIGHT)
    rise = _Axis(0.0, max(_finite(frames, "end_to_end"), default=1.0), height - _BOTTOM - 12, _TOP)
    body = [*_horizontal_grid(rise), *_ticks_below(axis, height, "s")]
    for name in ("end_to_end", "age_on_arrival"):
        points = [
            (axis(s), rise(f.times_ms[name]))
            for s, f in zip(seconds, frames, strict=True)
            if math.isfinite(f.times_ms.get(name, math.nan))
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body.append(f'<polyline class="line-{name}" points="{line}"/>')
        body += [f'<circle class="dot-{name}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points]
    missing = [s for s, f in zip(seconds, frames, strict=True) if f.fate is Fate.MISSING]
    floor = height - _BOTTOM
    body += [
        f'<line class="missing" x1="{axis(s):.1f}" x2="{axis(s):.1f}" '
        f'y1="{floor - 9}" y2="{floor}"/>'
        for s in missing
    ]
    return _svg(
        height,
        f"Over {seconds[-1]:.1f} seconds: milliseconds from stamp to arrival and from stamp to "
        f"label of each frame; {len(missing)} of {len(frames)} frames have no label",
        body,
    )


class _Axis:
    """Linear scale from values to pixels, its upper end rounded up to a whole tick."""

    def __init__(self, low: float, high: float, start_px: float, end_px: float) -> None:
        self.step = _round_step((high - low) / 5)
        self.top = low + self.step * max(1, math.ceil((high - low) / self.step - 1e-9))
        self._low, self._start, self._end = low, start_px, end_px

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self.top - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        count = round((self.top - self._low) / self.step)
        return [self._low + i * self.step for i in range(count + 1)]


def _round_step(rough: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _finite(frames: Sequence[FrameOutcome], name: str) -> list[float]:
    values = (frame.times_ms.get(name, math.nan) for frame in frames)
    return [value for value in values if math.isfinite(value)]


def _horizontal_grid(rise: _Axis) -> list[str]:
    lines = []
    for value in rise.ticks():
        y = rise(value)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text class="tick end" x="{_LEFT - 8}" y="{y + 4}">{value:g}</text>')
    return lines


def _ticks_below(axis: _Axis, height: int, unit: str) -> list[str]:
    y = height - _BOTTOM + 20
    ticks = axis.ticks()
    return [
        f'<text class="tick middle" x="{axis(value):.1f}" y="{y}">'
        f"{value:g}{f' {unit}' if value == ticks[-1] else ''}</text>"
        for value in ticks
    ]


def _marker(x: float, height: int, text: str, drop: int, to_right: bool) -> list[str]:
    side = "start" if to_right else "end"
    shift = 5 if to_right else -5
    if to_right and x > WIDTH - 110:
        side, shift = "end", -5
    return [
        f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>',
        f'<text class="label {side}" x="{x + shift:.1f}" y="{_TOP + 10 + drop}">'
        f"{escape(text)}</text>",
    ]


def _stacked_bar(parts: Sequence[tuple[str, str, float, str]], description: str) -> Markup:
    """Parts as (CSS class, words, length, number); words only where they fit, all in the title."""
    total = sum(length for _, _, length, _ in parts) or 1.0
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
    return _svg(34, description, body)


def _svg(height: int, description: str, body: Sequence[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(description)}">'
        f"{''.join(body)}</svg>"
    )
