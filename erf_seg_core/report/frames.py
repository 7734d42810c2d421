"""What became of every frame of a replay, and the sums of it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

NS_PER_S = 1_000_000_000


class Fate(str, Enum):
    """How a frame ended."""

    LABELLED = "labelled"
    """Its label was recorded."""
    MISSING = "missing"
    """No label came back; the totals say how many were dropped and how many were lost."""


@dataclass(frozen=True)
class FrameOutcome:
    """One recorded frame: its stamp in nanoseconds, its fate, and its times in milliseconds.

    `times_ms` has the stages; of a live run also "waiting", "age_on_arrival" and "end_to_end", of
    an offline one "total". It is empty for a frame without a label. `bag` tells several bags apart.
    """

    stamp_ns: int
    fate: Fate
    times_ms: dict[str, float] = field(default_factory=dict)
    bag: str = ""


@dataclass(frozen=True)
class FrameTotals:
    """Where the frames of a replay went. The others add up to `recorded`.

    `labelled` came back and was recorded. In the node: `dropped` for a newer frame, `too_old` on
    arrival, `malformed`, `failed` in the network, `unfinished` when it was stopped. On the way:
    `lost_to_node` and `lost_from_node`, images and labels that DDS did not deliver.
    """

    recorded: int
    labelled: int
    dropped: int = 0
    malformed: int = 0
    failed: int = 0
    unfinished: int = 0
    lost_to_node: int = 0
    lost_from_node: int = 0
    too_old: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain data."""
        return asdict(self)

    def __add__(self, other: FrameTotals) -> FrameTotals:
        """Sums of two runs."""
        mine, theirs = self.to_dict(), other.to_dict()
        return FrameTotals(**{name: count + theirs[name] for name, count in mine.items()})


@dataclass(frozen=True)
class Distribution:
    """Median, 95th percentile and maximum of some milliseconds."""

    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """Describe at least one finite value."""
        median, p95 = np.percentile(values, (50, 95))
        return cls(float(median), float(p95), float(max(values)))


def latencies(frames: Iterable[FrameOutcome]) -> dict[str, Distribution]:
    """Distribution of each time over the labelled frames, in the order of the first frame's."""
    columns: dict[str, list[float]] = {}
    for frame in frames:
        for name, value in frame.times_ms.items():
            if np.isfinite(value):
                columns.setdefault(name, []).append(value)
    return {name: Distribution.of(values) for name, values in columns.items()}


def achieved_rate_hz(frames: Sequence[FrameOutcome]) -> float:
    """Labels per second of recorded time, pauses between bags left out; nan without any."""
    spans: dict[str, list[int]] = {}
    for frame in frames:
        spans.setdefault(frame.bag, []).append(frame.stamp_ns)
    intervals = len(frames) - len(spans)
    span_s = sum(max(stamps) - min(stamps) for stamps in spans.values()) / NS_PER_S
    labelled = Counter(frame.fate for frame in frames)[Fate.LABELLED]
    return labelled / len(frames) * intervals / span_s if span_s > 0 else float("nan")


def write_frames_csv(path: Path, frames: Sequence[FrameOutcome]) -> None:
    """One row for each frame: stamp, fate and every time, empty where there is none."""
    names = list(latencies(frames))
    with path.open("w", encoding="utf-8", newline="") as file:
        rows: Any = csv.writer(file)
        rows.writerow(["stamp_ns", "fate", *(f"{name}_ms" for name in names)])
        for frame in frames:
            times = [f"{frame.times_ms[n]:.3f}" if n in frame.times_ms else "" for n in names]
            rows.writerow([frame.stamp_ns, frame.fate.value, *times])
