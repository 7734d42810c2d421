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
    marks = np.multiply(truth == VOID_ID, void, dtype=kind)
    marks.ravel()[true_at] |= true
    near_true = nearby(marks, predicted_at, radius)
    judged = near_true < void
    predicted_at, predicted, near_true = predicted_at[judged], predicted[judged], near_true[judged]
    marks.fill(0)
    marks.ravel()[predicted_at] = predicted
    near_predicted = nearby(marks, true_at, radius)
    columns = (
        predicted,
        predicted & near_true,
        true,
        true & near_predicted,
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


def nearby(bits: np.ndarray, at: np.ndarray, radius: int) -> np.ndarray:
    """Bits of all pixels at most `radius` away from each of some places in the flattened picture.

    A disc is a pile of rows. `runs[n]` has the bits of any n pixels in a row, for the powers of
    two; two of them, which may overlap, make a row of any length. So a few passes over the picture
    and a few looks from each place serve all classes at once, where a distance transform takes a
    pass for each class.
    """
    height, width = bits.shape
    stride = width + radius  # zeros between the rows, so that none of them runs on into the next
    line = np.zeros((radius + height + radius) * stride, bits.dtype)
    line[radius * stride :][: height * stride].reshape(height, stride)[:, :width] = bits
    runs = {1: line}
    for size in (1 << power for power in range((2 * radius + 1).bit_length() - 1)):
        runs[2 * size] = runs[size][:-size] | runs[size][size:]
    places = at + at // width * radius
    found = np.zeros(len(at), bits.dtype)
    for down in range(-radius, radius + 1):
        reach = math.isqrt(radius * radius - down * down)
        length = 2 * reach + 1
        size = 1 << (length.bit_length() - 1)
        first = (radius + down) * stride - reach
        for start in {first, first + length - size}:
            found |= runs[size][start:][places]
    return found


def _count_bits(values: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(values & bit) for bit in bits], np.int64)
