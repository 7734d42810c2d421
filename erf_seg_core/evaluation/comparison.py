"""Is the second model better than the first, beyond noise? On the frames that both labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ErfSegError
from .bootstrap import Interval, paired_difference, paired_quantile_difference
from .frame_scores import FrameScores, common_rows
from .metrics import iou_of, nan_mean
from .resampling import automatic_block_length, shortest_block

_QUANTILES = {"latency_median": 0.5, "latency_p95": 0.95}
_SCORES = ("mIoU", "accuracy")
_FEWEST_RUNS = 10
"""Independent runs of frames from which on an interval is to be trusted: of fewer, which ones a
recording happens to hold decides about its ends."""


@dataclass(frozen=True)
class Change:
    """One number of both models. `difference` is second minus first; `unit` "%" or "ms".

    Per cent are points: from 42 % to 40 % is a difference of −2. It was found in `frames` frames,
    of which `block` were drawn together.
    """

    name: str
    unit: str
    first: float
    second: float
    difference: Interval
    higher_is_better: bool
    frames: int
    block: int

    @property
    def worse_by(self) -> float:
        """How much worse the second is; negative if it is better."""
        return -self.difference.value if self.higher_is_better else self.difference.value

    @property
    def verdict(self) -> str:
        """In a word or two: better, worse, or not to be told from noise."""
        if not self.difference.excludes_zero():
            return "within noise"
        return "worse" if self.worse_by > 0 else "better"

    @property
    def too_short(self) -> bool:
        """Whether the runs are too few for the ends of the interval to mean much."""
        return self.frames < _FEWEST_RUNS * self.block

    @property
    def claims_too_much(self) -> bool:
        """Whether better or worse is more than so few runs can tell.

        Their interval is too narrow, so zero has to be clear of twice its width. Where even the
        shortest runs are too few, how much too narrow a score's is anybody's guess; a time hardly
        hangs on what is seen.
        """
        if self.verdict == "within noise" or not self.too_short:
            return False
        never_enough = self.frames < _FEWEST_RUNS * shortest_block(self.frames)
        if never_enough and self.unit == "%":
            return True
        return not self.difference.widened(2.0).excludes_zero()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        values = {"first": self.first, "second": self.second}
        return {
            "unit": self.unit,
            **{k: round(v, 6) if np.isfinite(v) else None for k, v in values.items()},
            "difference": self.difference.to_dict(),
            "verdict": self.verdict,
            "frames": self.frames,
            "too_short": self.too_short,
        }


@dataclass(frozen=True)
class Comparison:
    """All changes, over `frames` frames that both have: scores over `scored`, times over `timed`.

    `left_out` counts the frames that only one of the two has. `block` frames were drawn together
    for the scores.
    """

    changes: dict[str, Change]
    frames: int
    scored: int
    timed: int
    left_out: tuple[int, int]
    block: int


def compare(first: FrameScores, second: FrameScores) -> Comparison:
    """Compare two models, or one model in two versions.

    Raises `ErfSegError` where that makes no sense: other classes, no common frame, other truth.
    """
    if first.class_names != second.class_names:
        raise ErfSegError(
            f"the two label different classes ({_short(first.class_names)} and "
            f"{_short(second.class_names)}); only models of one class set can be compared"
        )
    rows = common_rows(first, second)
    if not len(rows[0]):
        raise ErfSegError(
            f"the two have no frame in common ({len(first)} and {len(second)} frames, of "
            f"{_short(np.unique(first.bag))} and {_short(np.unique(second.bag))}); evaluate both "
            "on the same bags"
        )
    left_out = (len(first) - len(rows[0]), len(second) - len(rows[1]))
    first, second = first.rows(rows[0]), second.rows(rows[1])
    _refuse_other_truth(first, second)
    truth = np.flatnonzero(first.confusion.any(axis=(1, 2)))
    changes, block = _score_changes(first.rows(truth), second.rows(truth))
    timed = np.flatnonzero(np.isfinite(first.latency_ms) & np.isfinite(second.latency_ms))
    changes |= _latency_changes(first.latency_ms[timed], second.latency_ms[timed])
    return Comparison(changes, len(first), len(truth), len(timed), left_out, block)


@dataclass(frozen=True)
class Limit:
    """How much worse the second model may be: an amount in the number's unit, or per cent of it."""

    name: str
    amount: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read `mIoU:0.5` (points), `latency_p95:5` (ms), `latency_p95:10%` (of the first's)."""
        name, _, amount = text.rpartition(":")
        try:
            number = float(amount.removesuffix("%"))
        except ValueError:
            number = float("nan")
        if not name or not number >= 0:
            raise ErfSegError(
                f"'{text}' is no limit: give a name and how much worse is allowed, such as "
                "mIoU:0.5 (points), latency_p95:5 (ms) or latency_p95:10%"
            )
        return cls(name, number, amount.endswith("%"))

    def change_in(self, comparison: Comparison) -> Change:
        """What it limits; `ErfSegError` names what there is to limit."""
        known = {name.lower(): change for name, change in comparison.changes.items()}
        try:
            return known[self.name.lower()]
        except KeyError:
            raise ErfSegError(
                f"nothing to compare is called '{self.name}': there are "
                f"{', '.join(comparison.changes) or 'neither scores nor times'}"
            ) from None

    def allowed(self, change: Change) -> float:
        """The amount in the unit of the change."""
        return self.amount / 100 * abs(change.first) if self.relative else self.amount

    def is_broken(self, change: Change) -> bool:
        """Whether the second model is worse by more than is allowed, and that beyond noise."""
        return change.verdict == "worse" and change.worse_by > self.allowed(change)


def _refuse_other_truth(first: FrameScores, second: FrameScores) -> None:
    differs = (first.confusion.sum(axis=2) != second.confusion.sum(axis=2)).any(axis=1)
    if differs.any():
        stamp_ns = first.stamps_ns[np.flatnonzero(differs)[0]]
        raise ErfSegError(
            f"the two were scored against different truth in {differs.sum()} of {len(first)} "
            f"frames, first at stamp {stamp_ns}; evaluate both against the same labels"
        )


def _score_changes(first: FrameScores, second: FrameScores) -> tuple[dict[str, Change], int]:
    if not len(first):
        return {}, 1
    differences = paired_difference(first.confusion, second.confusion)
    values = [_scores(scores.confusion.sum(axis=0, dtype=np.int64)) for scores in (first, second)]
    names = (*_SCORES, *first.class_names)
    intervals = (differences.miou, differences.accuracy, *differences.iou)
    changes = {
        name: Change(
            name,
            "%",
            100 * a,
            100 * b,
            _in_points(interval),
            higher_is_better=True,
            frames=len(first),
            block=differences.block,
        )
        for name, a, b, interval in zip(names, *values, intervals, strict=True)
    }
    return changes, differences.block


def _scores(confusion: np.ndarray) -> list[float]:
    iou = iou_of(confusion)
    return [float(nan_mean(iou)), float(np.trace(confusion) / confusion.sum()), *map(float, iou)]


def _latency_changes(first: np.ndarray, second: np.ndarray) -> dict[str, Change]:
    if not len(first):
        return {}
    block = automatic_block_length(second - first)
    return {
        name: Change(
            name,
            "ms",
            float(np.quantile(first, quantile)),
            float(np.quantile(second, quantile)),
            paired_quantile_difference(first, second, quantile, block),
            higher_is_better=False,
            frames=len(first),
            block=block,
        )
        for name, quantile in _QUANTILES.items()
    }


def _in_points(interval: Interval) -> Interval:
    return Interval(100 * interval.value, 100 * interval.low, 100 * interval.high)


def _short(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:3]))
    return shown if len(names) <= 3 else f"{shown}, … ({len(names)})"
