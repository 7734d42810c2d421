"""Resampling the frames of a drive for the bootstrap, in blocks, because neighbours are alike.

At 15 Hz a frame shows nearly what the frame before showed. Drawing single frames would treat them
as independent and give intervals that are far too narrow; drawing runs of consecutive frames keeps
what neighbours have in common inside the runs (circular block bootstrap, Politis & Romano 1992).
Over a drive of few independent stretches even these intervals are a little narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

_INDICES_AT_ONCE = 2**20  # 8 MB: the memory of a bootstrap does not grow with its resamples


def automatic_block_length(series: np.ndarray) -> int:
    """How many consecutive frames to draw together, from how long the series remembers.

    The rule of Politis & White (2004), corrected by Patton, Politis & White (2009), for the
    circular block bootstrap of a mean. `series` is float64 N, one number per frame in order;
    the result is at least `shortest_block` and at most about a third of the drive.
    """
    count = len(series)
    shortest = shortest_block(count)
    deviation = np.asarray(series, np.float64) - np.mean(series) if count else np.zeros(0)
    if count < 4 or not np.any(deviation):
        return shortest
    reach = max(5, int(math.log10(count)))
    most_lags = min(count - 1, math.ceil(math.sqrt(count)) + reach)
    covariance = _autocovariance(deviation, most_lags)
    lags = _significant_lags(covariance, count, reach)
    used = min(2 * max(lags, 1), most_lags)
    lag = np.arange(1, used + 1)
    weights = np.minimum(1.0, 2.0 * (1.0 - lag / used))  # the flat-top window
    spread = 2.0 * float(np.sum(weights * lag * covariance[1 : used + 1]))
    spectrum = covariance[0] + 2.0 * float(np.sum(weights * covariance[1 : used + 1]))
    if spectrum <= 0:
        return shortest
    length = (1.5 * (spread / spectrum) ** 2 * count) ** (1 / 3)
    longest = math.ceil(min(3 * math.sqrt(count), count / 3))
    return int(np.clip(math.ceil(length), shortest, longest))


def shortest_block(count: int) -> int:
    """How many of `count` frames to draw together whatever the series says.

    In a handful of frames even a strong likeness of neighbours cannot be told from none, and the
    automatic rule would take them for independent. The cube root is the rate at which the best
    length grows; a third of the frames leaves resamples that differ.
    """
    return max(1, min(math.ceil(count ** (1 / 3)), count // 3))


def resampled_frames(count: int, block: int, samples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Frames of each resample, int64 rows of `count` indices, a bounded number of rows at once.

    A row is made of runs of `block` consecutive frames that start anywhere; the drive is closed to
    a ring, so that every frame is equally likely. The same arguments always give the same rows.
    """
    rng = np.random.default_rng(seed)
    runs = -(-count // block)
    rows_at_once = max(1, _INDICES_AT_ONCE // max(1, count))
    for first in range(0, samples, rows_at_once):
        rows = min(rows_at_once, samples - first)
        starts = rng.integers(0, count, (rows, runs, 1))
        drawn = (starts + np.arange(block)) % count
        yield drawn.reshape(rows, runs * block)[:, :count]


def resampled_sums(values: np.ndarray, block: int, samples: int, seed: int = 0) -> np.ndarray:
    """Sums over the frames of each resample: float64 N×K → samples×K."""
    count = len(values)
    sums = []
    for drawn in resampled_frames(count, block, samples, seed):
        rows = len(drawn)
        flat = (drawn + count * np.arange(rows)[:, None]).ravel()
        times_drawn = np.bincount(flat, minlength=rows * count).reshape(rows, count)
        sums.append(times_drawn @ values)
    return np.concatenate(sums)


def _autocovariance(deviation: np.ndarray, lags: int) -> np.ndarray:
    count = len(deviation)
    return np.array([deviation[: count - k] @ deviation[k:] for k in range(lags + 1)]) / count


def _significant_lags(covariance: np.ndarray, count: int, reach: int) -> int:
    """The lag after which `reach` autocorrelations in a row cannot be told from none."""
    noise = 2.0 * math.sqrt(math.log10(count) / count)
    quiet = np.abs(covariance[1:] / covariance[0]) < noise
    for lag in range(len(quiet) - reach + 1):
        if quiet[lag : lag + reach].all():
            return lag
    loud = np.flatnonzero(~quiet)
    return int(loud[-1]) + 1 if loud.size else 1
