"""Confusion matrix and the scores read off it."""

from __future__ import annotations

import numpy as np

from ..class_sets import VOID_ID
from ..errors import ErfSegError
from .pair_counts import pair_counts


def iou_of(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union per class of any number of matrices, …×C×(C+1) → float64 …×C.

    nan where a class is in neither truth nor prediction.
    """
    return ratio(*hits_and_unions(matrix))


def hits_and_unions(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that truth and prediction share, and that either has, per class: int64 …×C each."""
    square = matrix[..., :-1]
    hits = np.diagonal(square, axis1=-2, axis2=-1).astype(np.int64)
    either = matrix.sum(axis=-1, dtype=np.int64) + square.sum(axis=-2, dtype=np.int64)
    return hits, either - hits


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Elementwise part / whole, float64; nan where the whole is nothing."""
    missing = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=missing, where=whole > 0)


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis without the nan; nan where there is nothing else, silently."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


class ConfusionMatrix:
    """Counts of (truth, prediction) pixel pairs over any number of images.

    `matrix` is int64 C×(C+1): rows are truth, columns prediction, the last column counts pixels
    that the network gave to void. Truth 255 is ignored. Predicting void where truth has a class is
    a miss, as in the Cityscapes evaluation (https://github.com/mcordts/cityscapesScripts).
    """

    def __init__(self, num_classes: int) -> None:
        """Start from zero counts."""
        self.num_classes = num_classes
        self.matrix = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add one image: two uint8 arrays of one shape.

        Raises `ErfSegError` if the shapes differ or an id other than 255 lies outside the classes.
        """
        if prediction.shape != truth.shape:
            raise ErfSegError(
                f"prediction is {prediction.shape} but truth is {truth.shape}; "
                "score at the truth's size"
            )
        # One table of pairs: no copy of the known pixels, and unknown ids show in its sums.
        counts = pair_counts(truth, prediction, self.num_classes)
        known = np.count_nonzero(truth != VOID_ID)
        if counts.sum() != known:
            self._refuse_unknown("truth", truth[truth != VOID_ID])
        self._refuse_unknown("prediction", np.flatnonzero(counts[:, :VOID_ID].any(axis=0)))
        self.matrix[:, :-1] += counts[:, : self.num_classes]
        self.matrix[:, -1] += counts[:, VOID_ID]

    def iou(self) -> np.ndarray:
        """Intersection over union per class, float64 C; nan where a class is in neither image."""
        return iou_of(self.matrix)

    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that occur; nan if none does."""
        return float(nan_mean(self.iou()))

    def accuracy(self) -> float:
        """Share of the pixels with truth that are right; nan without any."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")

    def _refuse_unknown(self, what: str, ids: np.ndarray) -> None:
        if ids.size and ids.max() >= self.num_classes:
            raise ErfSegError(
                f"{what} holds id {ids.max()}, but there are {self.num_classes} classes (ids 0 to "
                f"{self.num_classes - 1}; void must be {VOID_ID}); is it another class set?"
            )
