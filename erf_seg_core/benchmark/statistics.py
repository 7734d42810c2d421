"""What a list of durations comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A median and the interval that holds the true one with 95 % confidence."""

    value: float
    low: float
    high: float


def median_with_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Median, and its interval between two of the sorted values.

    How many of n values lie below the true median is binomial(n, ½), whatever their distribution:
    https://en.wikipedia.org/wiki/Median#Confidence_interval . Below six values no interval reaches
    95 %, and the whole range is given.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, first, chance = len(ordered), 0, 0.0  # chance that the median lies before the first one
    for candidate in range(n // 2):
        chance += math.comb(n, candidate) / 2**n
        if chance > (1 - confidence) / 2:
            break
        first = candidate
    return Estimate(float(np.median(ordered)), float(ordered[first]), float(ordered[n - 1 - first]))


def speedup(baseline_ms: Sequence[float], ms: Sequence[float]) -> Estimate:
    """How many times faster than the baseline: the median over rounds of the round's quotient.

    Both were measured in every round, moments apart, so that what slows the machine for a while
    slows both and drops out.
    """
    return median_with_interval(np.asarray(baseline_ms, np.float64) / np.asarray(ms, np.float64))
