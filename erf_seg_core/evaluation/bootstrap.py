"""How sure the scores of a drive are: bootstrap intervals, and paired ones for two models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ErfSegError
from .metrics import hits_and_unions, nan_mean, ratio
from .resampling import automatic_block_length, resampled_frames, resampled_sums

SAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its 95 % interval; nan where there is nothing to tell it from."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether a difference is beyond noise."""
        return self.low > 0 or self.high < 0

    def widened(self, times: float) -> Interval:
        """The interval with ends so many times as far from the value."""
        low, high = (self.value + times * (end - self.value) for end in (self.low, self.high))
        return Interval(self.value, low, high)

    def to_dict(self) -> dict[str, float | None]:
        """Plain data; None for nan, which JSON does not have."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: round(v, 6) if np.isfinite(v) else None for name, v in values.items()}


@dataclass(frozen=True)
class ScoreIntervals:
    """Intervals of the scores, fractions of 1. `block` frames were drawn together."""

    miou: Interval
    accuracy: Interval
    iou: tuple[Interval, ...]
    frames: int
    block: int


def confidence_intervals(
    confusion: np.ndarray, block: int | None = None, samples: int = SAMPLES, seed: int = 0
) -> ScoreIntervals:
    """Scores of a drive with the interval that a comparable drive would give.

    Args:
        confusion: int N×C×(C+1), one matrix per frame in the order of the recording; several bags
            one after the other.
        block: consecutive frames drawn together; None: as long as the frames' scores remember.
        samples: resamples of the bootstrap.
        seed: the same seed gives the same interval.

    The interval is about noise within what was driven. It cannot know other roads or weather.

    """
    counts = _counts(confusion)
    block = block or automatic_block_length(frame_influence(confusion))
    resampled = _scores(resampled_sums(counts, block, samples, seed))
    return _score_intervals(_scores(counts.sum(axis=0)), resampled, len(counts), block)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    block: int | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> ScoreIntervals:
    """Scores of `second` minus scores of `first` on the same frames, both int N×C×(C+1).

    Each resample draws the same frames for both, so what makes a frame hard for both cancels.
    """
    if first.shape != second.shape:
        raise ErfSegError(
            f"the two models were scored on {first.shape[0]} and {second.shape[0]} frames of "
            f"{first.shape[1]} and {second.shape[1]} classes; a paired comparison needs the same"
        )
    counts = [_counts(first), _counts(second)]
    change = frame_influence(second) - frame_influence(first)
    block = block or automatic_block_length(change)
    value = _scores(counts[1].sum(axis=0)) - _scores(counts[0].sum(axis=0))
    resampled = [_scores(resampled_sums(c, block, samples, seed)) for c in counts]
    return _score_intervals(value, resampled[1] - resampled[0], len(first), block)


def paired_quantile_difference(
    first: np.ndarray,
    second: np.ndarray,
    quantile: float,
    block: int | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Quantile (0 to 1) of `second` minus that of `first`, float64 N each, on the same frames."""
    block = block or automatic_block_length(second - first)
    value = float(np.quantile(second, quantile) - np.quantile(first, quantile))
    changes = [
        np.quantile(second[drawn], quantile, axis=1) - np.quantile(first[drawn], quantile, axis=1)
        for drawn in resampled_frames(len(first), block, samples, seed)
    ]
    return _interval(value, np.concatenate(changes), len(first))


def frame_influence(confusion: np.ndarray) -> np.ndarray:
    """How much each frame moves the mIoU of the drive up or down, to first order: float64 N.

    The mIoU is a ratio of sums, so a frame has no mIoU of its own that would add up; this is the
    derivative of the whole by the frame's weight. Its sum is zero.
    """
    hits, unions = hits_and_unions(confusion)
    whole = unions.sum(axis=0)
    iou = ratio(hits.sum(axis=0), whole)
    return np.nan_to_num(nan_mean(ratio(hits - iou * unions, whole[None])))


def _counts(confusion: np.ndarray) -> np.ndarray:
    """What the scores are made of, and what adds up over frames: float64 N×(2C+1)."""
    if len(confusion) == 0:
        raise ErfSegError("no frame was scored, so there is no confidence interval")
    hits, unions = hits_and_unions(confusion)
    pixels = confusion.sum(axis=(1, 2), dtype=np.int64)
    return np.concatenate([hits, unions, pixels[:, None]], axis=1).astype(np.float64)


def _scores(counts: np.ndarray) -> np.ndarray:
    """…×(2C+1) sums → …×(C+2): mIoU, accuracy and the IoU of every class."""
    classes = counts.shape[-1] // 2
    hits, unions, pixels = np.split(counts, [classes, 2 * classes], axis=-1)
    iou = ratio(hits, unions)
    accuracy = ratio(hits.sum(axis=-1, keepdims=True), pixels)
    return np.concatenate([nan_mean(iou)[..., None], accuracy, iou], axis=-1)


def _score_intervals(
    values: np.ndarray, resampled: np.ndarray, frames: int, block: int
) -> ScoreIntervals:
    miou, accuracy, *iou = (
        _interval(float(value), column, frames)
        for value, column in zip(values, resampled.T, strict=True)
    )
    return ScoreIntervals(miou, accuracy, tuple(iou), frames, block)


def _interval(value: float, resampled: np.ndarray, frames: int) -> Interval:
    """Percentile interval; resamples in which a class does not occur say nothing about it."""
    known = resampled[np.isfinite(resampled)]
    if frames < 2 or not known.size or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
