"""Verdicts on a camera from its counts, with an invented clock."""

from dataclasses import replace

import pytest

from erf_seg_ros.frame_counts import FrameCounts
from erf_seg_ros.health import CameraHealth, Level

STALE_AFTER = 1.0


def watched(counts_by_second):
    """Verdict after each second, starting at 100 s."""
    health = CameraHealth("/camera/image", 100.0)
    return [
        health.judge(101.0 + second, counts, STALE_AFTER)
        for second, counts in enumerate(counts_by_second)
    ]


def steady(seconds, rate=10, **per_second):
    """Counts of a camera that sends `rate` frames a second, all labelled but for `per_second`."""
    result = []
    for second in range(1, seconds + 1):
        others = {name: count * second for name, count in per_second.items()}
        received = rate * second
        labelled = received - sum(others.values())
        result.append(
            FrameCounts(
                received=received,
                labelled=labelled,
                latency_sum_ms=30.0 * labelled,
                age_sum_ms=4.0 * labelled,
                last_arrival=100.0 + second,
                last_malformed="step too small",
                last_failure="out of memory",
                **others,
            )
        )
    return result


def test_steady_camera_is_ok_with_its_rates():
    verdict = watched(steady(8))[-1]
    assert verdict.level == Level.OK
    assert verdict.message == "10.0 Hz, 30 ms a frame"
    assert verdict.values["rate_in_hz"] == verdict.values["rate_out_hz"] == "10.00"
    assert verdict.values["mean_latency_ms"] == "30.0"
    assert verdict.values["mean_age_on_arrival_ms"] == "4.0"
    assert verdict.values["received"] == "80"
    assert verdict.values["time_since_last_frame_s"] == "0.00"


def test_rates_are_of_the_last_seconds_and_counts_of_the_whole_time():
    fast = steady(3, rate=30)
    slow = [
        replace(fast[-1], received=90 + 5 * n, labelled=90 + 5 * n, last_arrival=103.0 + n)
        for n in range(1, 8)
    ]
    verdict = watched(fast + slow)[-1]
    assert verdict.values["rate_in_hz"] == "5.00"
    assert verdict.values["received"] == "125"


def test_camera_that_never_sent_warns_then_is_an_error():
    verdicts = watched([FrameCounts()] * 7)
    assert [v.level for v in verdicts] == [Level.OK, *[Level.WARN] * 4, *[Level.ERROR] * 2]
    assert "no image on /camera/image for 7.0 s" in verdicts[-1].message
    assert verdicts[-1].values["time_since_last_frame_s"] == "never"


def test_camera_that_stopped_is_noticed_and_forgiven():
    last = steady(3)[-1]
    stopped = watched([*steady(3), last, last])
    assert [v.level for v in stopped] == [Level.OK] * 4 + [Level.WARN]
    assert "2.0 s ago" in stopped[-1].message
    back = replace(last, received=31, labelled=31, last_arrival=106.0)
    assert watched([*steady(3), last, last, back])[-1].level == Level.OK


@pytest.mark.parametrize(
    ("per_second", "level", "sentence"),
    [
        ({"malformed": 1}, Level.WARN, "5 of 50 images were malformed, last: step too small"),
        ({"malformed": 10}, Level.ERROR, "50 of 50 images were malformed"),
        ({"failed": 1}, Level.ERROR, "failed on 5 images: out of memory"),
        ({"dropped": 1}, Level.OK, "9.0 Hz, 30 ms a frame"),
        ({"dropped": 4}, Level.WARN, "slower than the camera: 10.0 Hz in, 6.0 Hz out"),
    ],
)
def test_trouble_sets_level_and_sentence(per_second, level, sentence):
    verdict = watched(steady(5, **per_second))[-1]
    assert verdict.level == level
    assert sentence in verdict.message


def test_trouble_of_long_ago_is_over():
    bad = FrameCounts(
        received=10, labelled=5, malformed=5, last_arrival=101.0, last_malformed="empty"
    )
    good = [
        replace(bad, received=10 + 10 * n, labelled=5 + 10 * n, last_arrival=101.0 + n)
        for n in range(1, 8)
    ]
    verdicts = watched([bad, *good])
    assert verdicts[0].level == Level.WARN
    assert verdicts[-1].level == Level.OK
    assert verdicts[-1].values["malformed"] == "5"
    assert verdicts[-1].values["last_malformed_reason"] == "empty"
