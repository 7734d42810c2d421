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

_QUANTILES = {"latency_median": 0.5, "latency_p95": 0.95}
_SCORES = ("mIoU", "accuracy")


@dataclass(frozen=True)
class Change:
    """One number of both models. `difference` is second minus first; `unit` "%" or "ms".

    Per cent are points: from 42 % to 40 % is a difference of −2.
    """

    name: str
    unit: str
    first: float
    second: float
    difference: Interval
    higher_is_better: bool

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

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        values = {"first": self.first, "second": self.second}
        return {
            "unit": self.unit,
            **{k: round(v, 6) if np.isfinite(v) else None for k, v in values.items()},
            "difference": self.difference.to_dict(),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """All changes, over `frames` frames that both have; the scores over `scored` of them.

    `left_out` counts the frames that only one of the two has. `block` frames were drawn together.
    """

    changes: dict[str, Change]
    frames: int
    scored: int
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
    changes |= _latency_changes(first.latency_ms, second.latency_ms)
    return Comparison(changes, len(first), len(truth), left_out, block)


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
        name: Change(name, "%", 100 * a, 100 * b, _in_points(interval), higher_is_better=True)
        for name, a, b, interval in zip(names, *values, intervals, strict=True)
    }
    return changes, differences.block


def _scores(confusion: np.ndarray) -> list[float]:
    iou = iou_of(confusion)
    return [float(nan_mean(iou)), float(np.trace(confusion) / confusion.sum()), *map(float, iou)]


def _latency_changes(first: np.ndarray, second: np.ndarray) -> dict[str, Change]:
    timed = np.isfinite(first) & np.isfinite(second)
    if not timed.any():
        return {}
    first, second = first[timed], second[timed]
    return {
        name: Change(
            name,
            "ms",
            float(np.quantile(first, quantile)),
            float(np.quantile(second, quantile)),
            paired_quantile_difference(first, second, quantile),
            higher_is_better=False,
        )
        for name, quantile in _QUANTILES.items()
    }


def _in_points(interval: Interval) -> Interval:
    return Interval(100 * interval.value, 100 * interval.low, 100 * interval.high)


def _short(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:3]))
    return shown if len(names) <= 3 else f"{shown}, … ({len(names)})"
