"""Scores along a drive: mIoU in a moving window, and the frames that went worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from .metrics import hits_and_unions, iou_of, nan_mean, ratio

Kept = TypeVar("Kept")


def frame_miou(confusion: np.ndarray) -> np.ndarray:
    """Mean IoU of each frame by itself, over the classes in it: int N×C×(C+1) → float64 N."""
    return nan_mean(iou_of(confusion))


def windowed_miou(confusion: np.ndarray, window: int) -> np.ndarray:
    """Mean IoU of the up to `window` frames around each frame: int N×C×(C+1) → float64 N.

    A single frame's mIoU jumps with every class that comes into view; the sums over a second or so
    of frames show the trend. At both ends the window is cut off.
    """
    hits, unions = (_windowed_sums(part, window) for part in hits_and_unions(confusion))
    return nan_mean(ratio(hits, unions))


def _windowed_sums(values: np.ndarray, window: int) -> np.ndarray:
    count = len(values)
    sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    first = np.maximum(np.arange(count) - window // 2, 0)
    end = np.minimum(np.arange(count) - window // 2 + window, count)
    return sums[end] - sums[first]


@dataclass(frozen=True)
class WorstFrame(Generic[Kept]):
    """A frame's position, its score, and what was kept of it."""

    index: int
    score: float
    kept: Kept


class WorstFrames(Generic[Kept]):
    """Keeps something, such as pictures, of the `count` lowest scores of a stream of frames.

    Neighbours fail alike, so no two that are kept are closer than `apart` frames: the worse stays.
    """

    def __init__(self, count: int, apart: int) -> None:
        """Keep at most `count`, at least `apart` frames from each other."""
        self._count, self._apart = count, apart
        self._frames: list[WorstFrame[Kept]] = []

    def add(self, index: int, score: float, keep: Callable[[], Kept]) -> None:
        """Consider a frame; `keep` is called only if it belongs to the worst. nan never does."""
        near = [frame for frame in self._frames if abs(frame.index - index) < self._apart]
        if not np.isfinite(score) or any(frame.score <= score for frame in near):
            return
        far = [frame for frame in self.worst_first() if abs(frame.index - index) >= self._apart]
        if len(far) >= self._count and far[self._count - 1].score <= score:
            return
        self._frames = [*far[: self._count - 1], WorstFrame(index, score, keep())]

    def worst_first(self) -> list[WorstFrame[Kept]]:
        """The frames kept, the lowest score first."""
        return sorted(self._frames, key=lambda frame: (frame.score, frame.index))
