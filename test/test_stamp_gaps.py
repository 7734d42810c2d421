"""Losses told from stamps alone: of a steady camera, and of nobody else's."""

import numpy as np
import pytest

from erf_seg_ros.stamp_gaps import StampGaps

MS = 1_000_000


def lost(stamps):
    gaps = StampGaps()
    return sum(gaps.add(int(stamp)) for stamp in stamps)


def camera(count, rate=15.0, jitter=0.0, seed=0):
    """Stamps of a camera; `jitter` is the standard deviation in periods."""
    rng = np.random.default_rng(seed)
    periods = np.arange(count) + rng.normal(0, jitter, count)
    return 10**18 + (periods * 1e9 / rate).astype(np.int64)


def losing(stamps, fraction, seed=1):
    kept = np.random.default_rng(seed).random(len(stamps)) >= fraction
    return stamps[kept], int(np.count_nonzero(~kept))


@pytest.mark.parametrize("rate", [1.0, 15.0, 60.0])
@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.1])
def test_camera_that_loses_nothing(rate, jitter):
    assert lost(camera(600, rate, jitter)) == 0


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_losses_are_counted(fraction, jitter):
    stamps, gone = losing(camera(900, jitter=jitter), fraction)
    # those at the beginning, while the rate is being learned, go unnoticed
    assert 0.8 * gone - 20 <= lost(stamps) <= 1.05 * gone


def test_one_lost_image_is_one():
    assert lost(np.delete(camera(100), 50)) == 1


def test_camera_that_becomes_slower_or_faster_loses_nothing():
    slower = camera(60, 30.0)[-1] + np.cumsum(np.full(100, 1e9 / 15))
    faster = slower[-1] + np.cumsum(np.full(200, 1e9 / 30))
    assert lost([*camera(60, 30.0), *slower, *faster]) == 0


def test_camera_without_a_rate_is_not_judged():
    stamps = 10**18 + np.cumsum(np.random.default_rng(2).exponential(66 * MS, 500))
    assert lost(stamps) == 0


def test_camera_that_paused_once_may_have_lost_but_does_not_stay_under_suspicion():
    first = camera(60)
    again = first[-1] + 10**10 + np.cumsum(np.full(300, 1e9 / 15))
    gaps = StampGaps()
    found = [gaps.add(int(stamp)) for stamp in [*first, *again]]
    assert sum(found[65:]) == 0


def test_repeated_and_earlier_stamps_are_no_losses():
    stamps = camera(40)
    loop = [*np.repeat(stamps, 2), *np.repeat(stamps, 2)]
    assert lost(loop) == 0
    swapped = camera(200)
    swapped[50:150:7], swapped[51:151:7] = swapped[51:151:7].copy(), swapped[50:150:7].copy()
    assert lost(swapped) == 0


def test_absent_stamps_are_no_losses():
    assert lost([0] * 100) == 0
