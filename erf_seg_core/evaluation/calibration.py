"""Calibration: of the pixels that the network is 80 % sure of, are 80 % right?

Reliability curve and expected calibration error (ECE): Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017, equations 2, 3 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..class_sets import VOID_ID
from .metrics import ratio
from .pair_counts import pair_counts

BINS = 15
"""As in the paper; 255 is a multiple of it, so that every bin holds 17 of the bytes 1 to 255."""


@dataclass(frozen=True)
class Reliability:
    """Per bin of confidence, from low to high, float64 B: pixels, mean confidence, accuracy.

    Fractions of 1; nan in bins without pixels.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def error(self) -> float:
        """ECE: the gap between confidence and accuracy, averaged over pixels; nan without any."""
        total = self.pixels.sum()
        if not total:
            return float("nan")
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((self.pixels * gaps).sum() / total)


class Calibration:
    """Counts of right and all pixels for each confidence byte (255 × probability).

    `counts` is int64 256×2: all pixels, and the right ones. It is exact and small whatever the
    length of the drive; those of two parts may be added. Pixels without truth, and those that the
    network gave to void, do not count.
    """

    def __init__(self) -> None:
        """Start from zero."""
        self.counts = np.zeros((256, 2), np.int64)

    def update(self, prediction: np.ndarray, confidence: np.ndarray, truth: np.ndarray) -> None:
        """Add one frame: three uint8 arrays of one shape."""
        known = (truth != VOID_ID) & (prediction != VOID_ID)
        right = known & (prediction == truth)
        verdict = known.view(np.uint8) + right  # 0 is what does not count, 1 is wrong, 2 is right
        _, wrong, right = pair_counts(verdict, confidence, 3)
        self.counts[:, 0] += wrong + right
        self.counts[:, 1] += right

    def reliability(self, bins: int = BINS) -> Reliability:
        """Gather the bytes into bins of equal width; the upper end belongs to a bin, as in Guo."""
        levels = np.arange(256)
        into = np.clip(-(-levels * bins // 255) - 1, 0, bins - 1)
        pixels = np.bincount(into, self.counts[:, 0], bins)
        right = np.bincount(into, self.counts[:, 1], bins)
        sure = np.bincount(into, self.counts[:, 0] * levels / 255, bins)
        return Reliability(pixels, ratio(sure, pixels), ratio(right, pixels))

    def error(self) -> float:
        """ECE over the standard bins."""
        return self.reliability().error()
