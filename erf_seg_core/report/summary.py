"""The numbers of a replay: what `summary.json` holds, the report shows and the terminal prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import CheckpointInfo
from ..evaluation.scoring import Scores
from .figures import FATES
from .frames import Distribution, FrameOutcome, FrameTotals, achieved_rate_hz, latencies


@dataclass(frozen=True)
class Source:
    """What was played: the bag, its image topic, (height, width), its rate, and how fast."""

    bag: str
    image_topic: str
    image_size: tuple[int, int]
    rate_hz: float
    played_at: float = 1.0


@dataclass(frozen=True)
class ReplaySummary:
    """Everything measured. `scores_note` says why there are no scores, where there are none."""

    source: Source
    model: CheckpointInfo
    engine: str
    frames: list[FrameOutcome]
    totals: FrameTotals
    scores: Scores | None
    scores_note: str
    lateness_ms: list[float]
    machine: dict[str, str]
    interrupted: bool
    created: str
    files: dict[str, str] = field(default_factory=dict)

    @property
    def latencies(self) -> dict[str, Distribution]:
        """Distribution of every time of the labelled frames, in milliseconds."""
        return latencies(self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `summary.json`; milliseconds, fractions, nanoseconds."""
        data = {
            "source": asdict(self.source),
            "model": {
                "name": self.model.model,
                "class_set": self.model.class_set.name,
                "input_size": list(self.model.input_size),
                "metrics": self.model.metrics,
                "notes": self.model.notes,
            },
            "engine": self.engine,
            "frames": self.totals.to_dict(),
            "labelled_rate_hz": _finite_or_none(achieved_rate_hz(self.frames)),
            "latency_ms": {name: asdict(d) for name, d in self.latencies.items()},
            "player_late_ms": asdict(Distribution.of(self.lateness_ms)) if self.frames else None,
            "scores": self.scores.to_dict() if self.scores else None,
            "scores_note": self.scores_note,
            "interrupted": self.interrupted,
            "machine": self.machine,
            "created": self.created,
            "files": self.files,
        }
        return _rounded(data)

    def write_json(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    def table(self) -> str:
        """For reading in a terminal."""
        rows: list[tuple[str, str]] = [
            ("played", f"{self.source.bag} {self.source.image_topic}"),
            ("model", f"{self.model.model} ({self.model.class_set.name}), {self.engine}"),
            ("frames", _fates_in_words(self.totals)),
        ]
        titles = {
            "age_on_arrival": "age on arrival",
            "network": "network",
            "end_to_end": "stamp to label",
        }
        for name, title in titles.items():
            if name in self.latencies:
                d = self.latencies[name]
                rows.append((title, f"{d.median:.1f} ms median, {d.p95:.1f} ms 95 %"))
        rows.append(("mIoU", _score_in_words(self.scores, self.scores_note)))
        if self.interrupted:
            rows.append(("note", "interrupted: these are the frames until then"))
        rows += [(name, path) for name, path in self.files.items()]
        return _aligned(rows)


def _fates_in_words(totals: FrameTotals) -> str:
    counts = totals.to_dict()
    parts = [f"{counts[name]} {words}" for name, words in FATES.items() if counts[name]]
    return f"{totals.recorded} recorded = " + " + ".join(parts)


def _score_in_words(scores: Scores | None, note: str) -> str:
    if scores is None:
        return note
    return (
        f"{100 * scores.confusion.mean_iou():.2f} % over {scores.images} frames with truth, "
        f"pixel accuracy {100 * scores.confusion.accuracy():.2f} %"
    )


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(title) for title, _ in rows)
    return "\n".join(f"{title:{width}}  {text}" for title, text in rows)


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _rounded(value: Any) -> Any:
    """Six decimals: more are noise in a file that people read and compare."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
