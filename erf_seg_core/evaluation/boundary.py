"""Boundary F-score: are the outlines where they should be, to within a few pixels?

Csurka, Larlus & Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC
2013; outlines and tolerance as in the DAVIS benchmark (Perazzi et al., CVPR 2016;
`db_eval_boundary` in https://github.com/fperazzi/davis), for every class at once.
"""

from __future__ import annotations

import math

import numpy as np

from ..class_sets import VOID_ID
from ..errors import ErfSegError
from .metrics import nan_mean, ratio

TOLERANCE = 0.008
"""Share of the diagonal within which an outline counts as found, as in DAVIS; 5 px of 480×360."""

_CLASSES_AT_ONCE = 31  # one bit each, and one for void, in 32


class BoundaryScore:
    """Outline pixels per class over any number of frames.

    `counts` is int64 C×4: predicted outline pixels, those of them with true outline of the class
    within the tolerance, true outline pixels, those of them with predicted outline within it.
    Counts are summed over frames, as for the IoU (Csurka et al. average frames; `update` gives what
    they average); sums of two parts of a drive may be added.

    Where truth is void nobody knows the outline: edges between a class and void are no outline,
    and predicted outline within the tolerance of void is neither right nor wrong.
    """

    def __init__(self, num_classes: int, tolerance: float = TOLERANCE) -> None:
        """Start from zero; `tolerance` is a share of the diagonal."""
        self.num_classes = num_classes
        self.tolerance = tolerance
        self.counts = np.zeros((num_classes, 4), np.int64)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> float:
        """Add one frame, two uint8 arrays of one shape; its own mean F-score, nan without outline.

        Raises `ErfSegError` if the shapes differ.
        """
        if prediction.shape != truth.shape:
            raise ErfSegError(
                f"prediction is {prediction.shape} but truth is {truth.shape}; "
                "score at the truth's size"
            )
        counts = outline_counts(prediction, truth, self.num_classes, self.tolerance)
        self.counts += counts
        return float(nan_mean(f_score(counts)))

    def f_score(self) -> np.ndarray:
        """F-score per class, float64 C; nan for a class without any outline."""
        return f_score(self.counts)

    def mean_f_score(self) -> float:
        """Mean over the classes that have an outline; nan if none has."""
        return float(nan_mean(self.f_score()))


def f_score(counts: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall per class, from `BoundaryScore.counts`.

    0 where only truth or only the prediction has outline, nan where neither has.
    """
    predicted, right, true, found = counts.T.astype(np.float64)
    precision = np.nan_to_num(ratio(right, predicted))
    recall = np.nan_to_num(ratio(found, true))
    score = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, score, np.nan)


def outline_counts(
    prediction: np.ndarray, truth: np.ndarray, num_classes: int, tolerance: float = TOLERANCE
) -> np.ndarray:
    """The counts of one frame, int64 C×4, as `BoundaryScore` explains them."""
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    counts = []
    for first in range(0, num_classes, _CLASSES_AT_ONCE):
        classes = range(first, min(first + _CLASSES_AT_ONCE, num_classes))
        counts.append(_counts_of(prediction, truth, classes, radius))
    return np.concatenate(counts)


def _counts_of(
    prediction: np.ndarray, truth: np.ndarray, classes: range, radius: int
) -> np.ndarray:
    """All classes in one go: a pixel's bit c says that outline of the class c runs through it."""
    kind = np.uint16 if len(classes) < 16 else np.uint32
    bit_of = np.zeros(256, kind)
    bit_of[classes] = kind(1) << np.arange(len(classes), dtype=kind)
    void = kind(1 << len(classes))
    known = truth != VOID_ID
    predicted = _outlines(bit_of[prediction])
    true = _outlines(bit_of[truth], known)
    near_true = dilated(np.where(known, true, void), radius)
    predicted &= np.where(near_true & void, kind(0), ~void)
    near_predicted = dilated(predicted, radius)
    columns = (predicted, predicted & near_true, true, true & near_predicted)
    return np.stack([_count_bits(bits, len(classes)) for bits in columns], axis=1)


def _outlines(bits: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Where a pixel differs from its right, lower or lower right neighbour, both classes' bits."""
    lines = np.zeros_like(bits)
    height, width = bits.shape
    for down, right in ((0, 1), (1, 0), (1, 1)):
        here = np.s_[: height - down, : width - right]
        there = np.s_[down:, right:]
        change = bits[here] ^ bits[there]
        if known is not None:
            change[~(known[here] & known[there])] = 0
        lines[here] |= change
    return lines


def dilated(bits: np.ndarray, radius: int) -> np.ndarray:
    """Every pixel gets the bits of all pixels at most `radius` away: a disc, row by row.

    One pass over the picture serves all classes, which is what makes this fast: a distance
    transform per class and picture takes ten times as long.
    """
    out = bits.copy()
    row = bits.copy()
    widths = [math.isqrt(radius * radius - down * down) for down in range(radius + 1)]
    for width in range(radius + 1):
        if 0 < width < bits.shape[1]:
            row[:, width:] |= bits[:, :-width]
            row[:, :-width] |= bits[:, width:]
        for down in (d for d, reach in enumerate(widths) if reach == width and d < len(bits)):
            out[down:] |= row[: len(row) - down]
            out[: len(out) - down] |= row[down:]
    return out


def _count_bits(bits: np.ndarray, classes: int) -> np.ndarray:
    """How many pixels have each bit set; outlines are thin, so few pixels are looked at."""
    present = bits[bits != 0]
    shifts = np.arange(classes, dtype=bits.dtype)
    return ((present[:, None] >> shifts) & 1).sum(axis=0, dtype=np.int64)
