"""The numbers of an evaluation: what `summary.json` holds and what the terminal shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..report.contents import ReportContents
from ..report.frames import Fate
from ..report.measures import Measures
from .bag_result import BagResult


def summary_of(
    contents: ReportContents, found: Sequence[Measures], results: Sequence[BagResult]
) -> dict[str, Any]:
    """Plain data for `summary.json`: fractions, milliseconds, nanoseconds; None for unknown."""
    data = {
        "bags": [_bag(result) for result in results],
        "image_topic": contents.image_topic,
        "image_size": list(contents.image_size),
        "rate_hz": contents.rate_hz,
        "live": contents.live,
        "truth": contents.truth,
        "scores_note": contents.scores_note,
        "models": {m.result.name: {**_about(m), **m.to_dict()} for m in found},
        "partial": contents.partial,
        "problems": list(contents.problems),
        "machine": dict(contents.machine),
        "created": contents.created,
        "files": dict(contents.files),
    }
    return _without_nan(data)


def table_of(contents: ReportContents, found: Sequence[Measures]) -> str:
    """For reading in a terminal: one line per model, then where the rest is.

    A reference model is no truth: "agrees %" is the mIoU with its labels. "alone" is the frames
    per second of the network while nothing else is done.
    """
    drops = "not labelled" if contents.live else "would drop"
    score = "agrees %" if contents.reference else "mIoU %"
    scores, speed = (score, "95 % interval"), ("ms", "p95", "frames/s", "alone")
    titles = ("model", "labelled", *scores, *speed, drops)
    rows = [titles, *(_row(m, contents.latency) for m in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    lines = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    if contents.reference:
        lines.append(f"agrees %: mIoU with the labels of {contents.reference}, which are no truth")
    notes = (contents.scores_note, contents.damaged, contents.partial)
    lines += [note for note in notes if note]
    lines += [f"{name}: {path}" for name, path in contents.files.items()]
    return "\n".join(lines)


def _bag(result: BagResult) -> dict[str, Any]:
    return {
        "name": result.bag,
        "path": result.path,
        "image_topic": result.image_topic,
        "frames_recorded": result.recorded,
        "frames_read": result.read,
        "frames_damaged": result.damaged,
        "problem": result.problem,
        "seconds": round(result.seconds, 3),
    }


def _about(found: Measures) -> dict[str, Any]:
    info = found.result.info
    return {
        "model": info.model,
        "class_set": found.result.class_set.name,
        "input_size": list(info.input_size),
        "frames_labelled": _labelled(found),
        "frames": found.result.totals.to_dict() if found.result.totals else None,
    }


def _row(found: Measures, latency: str) -> tuple[str, ...]:
    result = found.result
    miou = found.intervals.miou if found.intervals else None
    spread = found.latency_ms.get(latency)
    return (
        result.name,
        str(_labelled(found)),
        _number(miou and 100 * miou.value, 2),
        f"{_number(100 * miou.low, 2)} – {_number(100 * miou.high, 2)}" if miou else "–",
        _number(spread and spread.median, 1),
        _number(spread and spread.p95, 1),
        _number(result.frames_per_s, 1),
        _number(result.network_frames_per_s, 1),
        str(len(result.frames) - _labelled(found) if result.totals else result.would_drop),
    )


def _labelled(found: Measures) -> int:
    return sum(frame.fate is Fate.LABELLED for frame in found.result.frames)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _without_nan(value: Any) -> Any:
    """JSON has no nan; six decimals are enough for people and for comparisons."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value
