"""Boundary F-score: are the outlines where they should be, to within a few pixels?

Csurka, Larlus & Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC
2013; outlines and tolerance as in the DAVIS benchmark (Perazzi et al., CVPR 2016;
`db_eval_boundary` in https://github.com/fperazzi/davis), for every class at once.
"""

from __future__ import annotations

import math

import cv2
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
    bits = kind(1) << np.arange(len(classes), dtype=kind)
    void = kind(1 << len(classes))
    bit_of = np.zeros(256, kind)
    bit_of[classes] = bits
    predicted_at, predicted = _outlines(prediction, bit_of)
    bit_of[VOID_ID] = void
    true_at, true = _outlines(truth, bit_of, void)
    near_true = np.multiply(truth == VOID_ID, void, dtype=kind)
    near_true.ravel()[true_at] |= true
    near_true = dilated(near_true, radius).ravel()
    judged = near_true[predicted_at] < void
    predicted_at, predicted = predicted_at[judged], predicted[judged]
    near_predicted = np.zeros(truth.shape, kind)
    near_predicted.ravel()[predicted_at] = predicted
    near_predicted = dilated(near_predicted, radius).ravel()
    columns = (
        predicted,
        predicted & near_true[predicted_at],
        true,
        true & near_predicted[true_at],
    )
    return np.stack([_count_bits(column, bits) for column in columns], axis=1)


def _outlines(
    labels: np.ndarray, bit_of: np.ndarray, void: np.integer | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where a pixel differs from its right, lower or lower right neighbour, and both classes' bits.

    Places in the flattened picture; lines are thin, so those are few. `void`, the highest bit of
    any, is that of pixels whose differences are not known.
    """
    height, width = labels.shape
    # Beyond the last row and column they are repeated: there, no neighbour differs.
    line = cv2.copyMakeBorder(labels, 0, 1, 0, 1, cv2.BORDER_REPLICATE).ravel()
    stride = width + 1
    inner = height * stride - 1
    steps = (1, stride, stride + 1)
    differs = np.zeros(inner + 1, bool)
    for step in steps:
        differs[:inner] |= line[:inner] != line[step : step + inner]
    differs.reshape(height, stride)[:, width] = False
    at = np.flatnonzero(differs)
    here, found = bit_of[line[at]], np.zeros(len(at), bit_of.dtype)
    for step in steps:
        change = here ^ bit_of[line[at + step]]
        if void is not None:
            change *= change < void
        found |= change
    return at - at // stride, found


def dilated(bits: np.ndarray, radius: int) -> np.ndarray:
    """Every pixel gets the bits of all pixels at most `radius` away: a disc, row by row.

    One pass over the picture serves all classes, which is what makes this fast: a distance
    transform per class and picture takes ten times as long. The rows lie in memory as one long
    line, with zeros between them, so that every shift is one operation on the whole line.
    """
    height, width = bits.shape
    stride = width + radius
    spaced = np.zeros((height, stride), bits.dtype)
    spaced[:, :width] = bits
    line = spaced.ravel()
    out, row = line.copy(), line.copy()
    widths = [math.isqrt(radius * radius - down * down) for down in range(radius + 1)]
    for reach in range(radius + 1):
        if reach:
            row[reach:] |= line[:-reach]
            row[:-reach] |= line[reach:]
        for down in (d for d, widest in enumerate(widths) if widest == reach and d < height):
            shift = down * stride
            out[shift:] |= row[: len(row) - shift]
            out[: len(out) - shift] |= row[shift:]
    return np.ascontiguousarray(out.reshape(height, stride)[:, :width])


def _count_bits(values: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(values & bit) for bit in bits], np.int64)
