"""The report page: one HTML file with its pictures inside, readable without a network."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..class_sets import ClassSet
from ..evaluation.over_time import windowed_miou
from . import figures, score_figures
from .contents import ReportContents
from .frames import Distribution, Fate, achieved_rate_hz
from .measures import Measures, class_shares, frame_seconds, measures, seconds_of
from .metrics import metric_in_words
from .pictures import WORST
from .plot import Series, lines_over_time
from .score_figures import Entry

LARGEST_EMBEDDED_VIDEO = 16 * 2**20
"""Bytes; a longer video is linked, or the page would be slow to open."""

COLORS = 8
"""Colours for models in the style sheet; a ninth model begins again."""

TITLES = {
    "age_on_arrival": "stamp to arrival in the node",
    "waiting": "waiting for the frame before it",
    "end_to_end": "stamp to label",
    "total": "all of it",
}
"""Names of times that do not speak for themselves."""


def write_report(
    path: Path, contents: ReportContents, found: Sequence[Measures] | None = None
) -> None:
    """Write the page to `path`; `found` are the measures of its models, if already worked out."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["metric"] = metric_in_words
    found = measures(contents.models) if found is None else found
    entries = {
        m.result.name: Entry(f"model{number % COLORS}", m.result.name)
        for number, m in enumerate(found)
    }
    page = environment.get_template("report.html.j2").render(
        contents=contents,
        measures=found,
        entries=entries,
        fates=figures.FATES,
        fates_bar=figures.fates_bar,
        titles=TITLES,
        name=_name(contents),
        rate_hz=_label_rate_hz(contents),
        latency=contents.latency,
        time_figures=_time_figures(contents, found, entries),
        score_figures=_score_figures(found, entries, contents.against),
        against=contents.against,
        legends=_legends(contents),
        first_stamps=_first_stamps(contents),
        worst_shown=WORST,
        video_uri=_video_uri(contents.video) if contents.video else "",
    )
    path.write_text(page, encoding="utf-8")


def _name(contents: ReportContents) -> str:
    """What the page is about, for its title."""
    bags = [bag.rstrip("/").rsplit("/", 1)[-1] for bag in contents.bags]
    names = [model.name for model in contents.models]
    where = bags[0] if len(bags) == 1 else f"{len(bags)} bags"
    return f"{', '.join(names)} on {where}"


def _label_rate_hz(contents: ReportContents) -> float:
    """Labels a second that a live run gave; nan offline."""
    if not contents.live or not contents.models:
        return math.nan
    return achieved_rate_hz(contents.models[0].frames) * contents.played_at


def _time_figures(
    contents: ReportContents, found: Sequence[Measures], entries: dict[str, Entry]
) -> dict[str, Any]:
    """Figures about time; empty where nothing was timed."""
    timed = [m for m in found if contents.latency in m.latency_ms]
    if not timed:
        return {}
    longest = figures.longest_shown_ms([m.latency_ms[contents.latency] for m in timed])
    parts = {m.result.name: _parts(m) for m in timed}
    widest = max(sum(d.median for d in named.values()) for named in parts.values())
    drawn = {part for named in parts.values() for part in named}
    return {
        "untimed": _untimed_in_words(contents, timed),
        "rows": list(dict.fromkeys(name for m in timed for name in m.latency_ms)),
        "legend": {part: words for part, words in figures.PARTS.items() if part in drawn},
        "parts": {name: figures.parts_bar(named, widest) for name, named in parts.items()},
        "histograms": {
            m.result.name: figures.latency_histogram(
                _times(m, contents.latency),
                m.latency_ms[contents.latency],
                longest,
                entries[m.result.name].css,
            )
            for m in timed
        },
        "timeline": _timeline(contents, timed, entries),
    }


def _untimed_in_words(contents: ReportContents, timed: Sequence[Measures]) -> str:
    """How many frames the times are of, where that is not all."""
    counts = {
        m.result.name: (len(_times(m, contents.latency)), len(m.result.frames)) for m in timed
    }
    if contents.live or all(some == whole for some, whole in counts.values()):
        return ""
    words = (f"{some} of {whole} frames of {name}" for name, (some, whole) in counts.items())
    return (
        f"Timed: {', '.join(words)}, each with all threads and nothing beside it. The others were "
        "labelled side by side, which is faster for all of them and slower for each."
    )


def _parts(found: Measures) -> dict[str, Distribution]:
    return {name: d for name, d in found.latency_ms.items() if name in figures.PARTS}


def _times(found: Measures, name: str) -> list[float]:
    values = (frame.times_ms.get(name, math.nan) for frame in found.result.frames)
    return [value for value in values if math.isfinite(value)]


def _timeline(
    contents: ReportContents, timed: Sequence[Measures], entries: dict[str, Entry]
) -> str:
    series, missing, breaks = [], [], []
    for m in timed:
        frames = m.result.frames
        seconds, breaks = frame_seconds(frames)
        names = [contents.latency, *(["age_on_arrival"] if contents.live else [])]
        for name in names:
            css = name if contents.live else entries[m.result.name].css
            values = np.array([frame.times_ms.get(name, np.nan) for frame in frames])
            series.append(Series(css, m.result.name, seconds, values))
        if contents.live:
            missing = [s for s, f in zip(seconds, frames, strict=True) if f.fate is Fate.MISSING]
    words = (
        f"milliseconds from stamp to arrival and from stamp to label of each frame; {len(missing)} "
        "have no label"
        if contents.live
        else "milliseconds of each frame, a line for each model"
    )
    return lines_over_time(series, "ms", f"Over the drive: {words}", missing, breaks)


def _score_figures(
    found: Sequence[Measures], entries: dict[str, Entry], against: str
) -> dict[str, Any]:
    """Figures about accuracy; empty where there was nothing to score against."""
    scored = [m for m in found if m.scored]
    drawn: dict[str, Any] = dict.fromkeys(
        ("classes", "confusion", "over_time", "reliability", "comparison"), ""
    )
    if scored:
        drawn["classes"] = [_class_bars(same, entries, against) for same in _by_class_set(scored)]
        drawn["confusion"] = {
            m.result.name: score_figures.heat_map(m.result.class_set, m.confusion, against)
            for m in scored
        }
        drawn["over_time"] = _iou_over_time(scored, entries)
    sure = [(m, m.result.calibration) for m in found if m.calibration_error is not None]
    if sure:
        drawn["reliability"] = score_figures.reliability(
            [(entries[m.result.name], calibration.reliability()) for m, calibration in sure]
        )
    both = [m for m in scored if {"total", "end_to_end"} & m.latency_ms.keys()]
    if len(both) > 1:
        drawn["comparison"] = score_figures.accuracy_against_time(
            [(entries[m.result.name], m.intervals.miou, _whole_time(m)) for m in both]
        )
    return drawn


def _whole_time(found: Measures) -> Distribution:
    return found.latency_ms.get("total") or found.latency_ms["end_to_end"]


def _by_class_set(scored: Sequence[Measures]) -> list[list[Measures]]:
    """Models with the same classes can share a figure."""
    groups: dict[tuple[str, ...], list[Measures]] = {}
    for m in scored:
        groups.setdefault(m.result.class_set.names, []).append(m)
    return list(groups.values())


def _class_bars(same: Sequence[Measures], entries: dict[str, Entry], against: str) -> str:
    models = [(entries[m.result.name], m.intervals.iou) for m in same]
    return score_figures.class_bars(
        same[0].result.class_set, class_shares(same[0]), models, against
    )


def _iou_over_time(scored: Sequence[Measures], entries: dict[str, Entry]) -> str:
    series, breaks = [], []
    for m in scored:
        seconds, breaks = seconds_of(m.scored.bag, m.scored.stamps_ns)
        values = 100 * windowed_miou(m.scored.confusion, window_frames(seconds))
        series.append(Series(entries[m.result.name].css, m.result.name, seconds, values))
    words = "; ".join(f"{s.name}: {s.values.min():.1f} to {s.values.max():.1f} %" for s in series)
    return lines_over_time(series, "%", f"Mean IoU over the drive. {words}", breaks=breaks)


def window_frames(seconds: np.ndarray) -> int:
    """Frames in a second of the drive, at least five: enough for most classes to occur."""
    steps = np.diff(seconds)
    usual = float(np.median(steps)) if len(steps) else 0.0
    return max(5, round(1.0 / usual)) if usual > 0 else 5


def _legends(contents: ReportContents) -> list[tuple[str, list[tuple[str, str]]]]:
    """Names and colours of every class set on the page."""
    sets = {model.class_set.names: model.class_set for model in contents.models}
    return [(class_set.name, _legend(class_set)) for class_set in sets.values()]


def _legend(class_set: ClassSet) -> list[tuple[str, str]]:
    return [
        (name, f"rgb({r} {g} {b})")
        for name, (r, g, b) in zip(class_set.names, class_set.colors, strict=True)
    ]


def _first_stamps(contents: ReportContents) -> dict[str, int]:
    """First stamp by bag: captions count from there."""
    stamps: dict[str, int] = {}
    for model in contents.models:
        for frame in model.frames:
            stamps[frame.bag] = min(frame.stamp_ns, stamps.get(frame.bag, frame.stamp_ns))
    return stamps


def _percent(value: float | None, digits: int = 1, sign: str = "") -> str:
    """Fraction → per cent as a number, with a real minus; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:{sign}.{digits}f}".replace("-", "−")


def _video_uri(video: Path) -> str:
    if video.stat().st_size > LARGEST_EMBEDDED_VIDEO:
        return video.name
    return f"data:video/webm;base64,{base64.b64encode(video.read_bytes()).decode('ascii')}"
