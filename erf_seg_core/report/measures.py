"""What the page and `summary.json` say of each model, worked out once: scores, intervals, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..evaluation.bootstrap import ScoreIntervals, confidence_intervals, paired_difference
from ..evaluation.frame_scores import FrameScores, common_rows
from .contents import ModelResult
from .frames import NS_PER_S, Distribution, FrameOutcome, latencies


@dataclass(frozen=True)
class Measures:
    """One model. `difference` is to the first of the page's models, on the frames both have."""

    result: ModelResult
    latency_ms: dict[str, Distribution]
    scored: FrameScores | None
    intervals: ScoreIntervals | None
    difference: ScoreIntervals | None = None

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts of the whole drive, int64 C×(C+1)."""
        return self.scored.confusion.sum(axis=0, dtype=np.int64)

    @property
    def frames_scored(self) -> int:
        """How many frames had truth."""
        return len(self.scored) if self.scored else 0

    @property
    def boundary_f(self) -> float | None:
        """Mean boundary F-score, or None."""
        return _finite(self.result.boundary and self.result.boundary.mean_f_score())

    @property
    def flicker(self) -> float | None:
        """Share of pixels that flicker, or None."""
        return _finite(self.result.consistency and self.result.consistency.flicker())

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error, or None."""
        return _finite(self.result.calibration and self.result.calibration.error())

    @property
    def throughput_ratio(self) -> float | None:
        """The rate that the evaluation reached over that of the network alone, or None."""
        reached, alone = self.result.frames_per_s, self.result.network_frames_per_s
        return reached / alone if reached and alone else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `summary.json`: fractions, milliseconds; None for what is unknown."""
        names = self.result.class_set.names
        return {
            "engine": self.result.engine,
            "frames_scored": self.frames_scored,
            "scores": _intervals_to_dict(self.intervals, names),
            "difference_to_first": _intervals_to_dict(self.difference, names),
            "boundary_f": self.boundary_f,
            "boundary_f_per_class": self._boundary_by_class(),
            "flicker": self.flicker,
            "calibration_error": self.calibration_error,
            "latency_ms": {name: asdict(d) for name, d in self.latency_ms.items()},
            "frames_per_s": self.result.frames_per_s,
            "network_frames_per_s": self.result.network_frames_per_s,
            "throughput_ratio": self.throughput_ratio,
            "would_drop": self.result.would_drop,
            "confusion": self.confusion.tolist() if self.scored else None,
        }

    def _boundary_by_class(self) -> dict[str, float | None] | None:
        if self.result.boundary is None:
            return None
        values = self.result.boundary.f_score()
        return {n: _finite(v) for n, v in zip(self.result.class_set.names, values, strict=True)}


def measures(results: Sequence[ModelResult]) -> list[Measures]:
    """Work them out, in the order of the results."""
    found: list[Measures] = []
    for result in results:
        scored = result.scores.with_truth() if result.scores else None
        if scored is None or not len(scored):
            found.append(Measures(result, latencies(result.frames), None, None))
            continue
        intervals = confidence_intervals(scored.confusion)
        difference = _difference(found[0].scored, scored) if found else None
        found.append(Measures(result, latencies(result.frames), scored, intervals, difference))
    return found


def _difference(first: FrameScores | None, second: FrameScores) -> ScoreIntervals | None:
    if first is None or first.class_names != second.class_names:
        return None
    rows = common_rows(first, second)
    if not len(rows[0]):
        return None
    return paired_difference(first.confusion[rows[0]], second.confusion[rows[1]])


def seconds_of(bags: Sequence[str], stamps_ns: Sequence[int]) -> tuple[np.ndarray, list[float]]:
    """Seconds along the drive, bags one after the other, and where each further bag begins.

    `stamps_ns` are int64, ascending within a bag.
    """
    names, stamps = np.asarray(bags), np.asarray(stamps_ns, np.int64)
    if not len(stamps):
        return np.zeros(0), []
    steps = np.diff(stamps) / NS_PER_S
    changes = names[1:] != names[:-1]
    usual = float(np.median(steps[~changes])) if not changes.all() else 1.0
    seconds = np.concatenate([[0.0], np.cumsum(np.where(changes, usual, np.maximum(steps, 0.0)))])
    return seconds, seconds[1:][changes].tolist()


def frame_seconds(frames: Sequence[FrameOutcome]) -> tuple[np.ndarray, list[float]]:
    """The same for recorded frames."""
    return seconds_of([frame.bag for frame in frames], [frame.stamp_ns for frame in frames])


def class_shares(found: Measures) -> np.ndarray:
    """Share of each class in the truth, float64 C."""
    pixels = found.confusion.sum(axis=1)
    return pixels / max(1, pixels.sum())


def _intervals_to_dict(
    intervals: ScoreIntervals | None, names: Sequence[str]
) -> dict[str, Any] | None:
    if intervals is None:
        return None
    return {
        "miou": intervals.miou.to_dict(),
        "accuracy": intervals.accuracy.to_dict(),
        "iou": {n: i.to_dict() for n, i in zip(names, intervals.iou, strict=True)},
        "frames": intervals.frames,
        "bootstrap_block_frames": intervals.block,
    }


def _finite(value: float | None) -> float | None:
    return round(float(value), 6) if value is not None and np.isfinite(value) else None
