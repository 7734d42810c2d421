"""Verdicts on a camera from its counts, with an invented clock."""

from dataclasses import replace

import pytest

from erf_seg_ros.conditions import CONDITIONS, Level, Limits
from erf_seg_ros.frame_counts import FrameCounts
from erf_seg_ros.health import CameraHealth, Sight
from erf_seg_ros.image_checks import PictureState

LIMITS = Limits(stale_after=1.0, bad_image_after=2.0)


def reported(counts_by_second, limits=LIMITS, **sight):
    """Report after each second, starting at 100 s."""
    health = CameraHealth("/camera/image", 100.0, FrameCounts())
    return [
        health.judge(101.0 + second, Sight(counts, **sight), limits)
        for second, counts in enumerate(counts_by_second)
    ]


def watched(counts_by_second):
    """Verdict on the camera as a whole after each second."""
    return [report.summary for report in reported(counts_by_second)]


def steady(seconds, rate=10, **per_second):
    """Counts of a camera that sends `rate` frames a second, all labelled but for `per_second`."""
    result = []
    for second in range(1, seconds + 1):
        others = {name: count * second for name, count in per_second.items()}
        received = rate * second
        labelled = received - sum(n for name, n in others.items() if name != "lost")
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
    ("name", "per_second", "level", "sentence"),
    [
        ("malformed", 1, Level.WARN, "5 of 50 images were malformed, last: step too small"),
        ("malformed", 10, Level.ERROR, "50 of 50 images were malformed"),
        ("failed", 1, Level.ERROR, "failed on 5 images: out of memory"),
        ("too_old", 1, Level.WARN, "5 of 50 images were older than max_age"),
        ("too_old", 10, Level.ERROR, "50 of 50 images were older"),
        ("dropped", 1, Level.OK, "9.0 Hz, 30 ms a frame"),
        ("dropped", 4, Level.WARN, "slower than the camera: 10.0 Hz in, 6.0 Hz out"),
        ("dropped", 10, Level.ERROR, "slower than the camera: 10.0 Hz in, 0.0 Hz out"),
        ("lost", 3, Level.WARN, "15 of 65 images on /camera/image were lost on the way: do this"),
        ("lost", 20, Level.ERROR, "100 of 150 images"),
    ],
)
def test_trouble_sets_level_and_sentence(name, per_second, level, sentence):
    report = reported(steady(5, **{name: per_second}), cure="do this", cure_values={"cure": "x"})[
        -1
    ]
    assert report.summary.level == level
    assert sentence in report.summary.message
    assert report.summary.values[name] == str(5 * per_second)
    condition = report.conditions["slow" if name == "dropped" else name]
    assert condition.level == level
    assert condition.values.get("cure") == ("x" if name == "lost" else None)
    others = [v for v in report.conditions.values() if v is not condition]
    assert {(v.level, v.message) for v in others} == {(Level.OK, "OK")}


def test_every_condition_is_always_told_under_its_name():
    (report,) = reported(steady(1))
    names = "missing unheard lost malformed failed too_old slow frozen black saturated"
    assert list(report.conditions) == names.split() == [c.__name__ for c in CONDITIONS]
    assert all(v.values for v in report.conditions.values())
    assert report.summary.values["conditions"] == ""


def test_two_lost_images_while_meeting_are_no_finding():
    assert reported([FrameCounts(received=10, labelled=10, lost=2)])[-1].summary.level == Level.OK


@pytest.mark.parametrize(
    ("picture", "name", "level", "sentence"),
    [
        (PictureState(frozen_s=1.9, identical_frames=19), "frozen", Level.OK, ""),
        (PictureState(frozen_s=2.1, identical_frames=21), "frozen", Level.WARN, "21 more images"),
        (PictureState(frozen_s=11.0, identical_frames=90), "frozen", Level.ERROR, "frozen"),
        (PictureState(black_s=3.0, brightness=4.0), "black", Level.WARN, "black for 3.0 s"),
        (PictureState(black_s=30.0), "black", Level.ERROR, "black for 30.0 s"),
        (PictureState(saturated_s=3.0), "saturated", Level.WARN, "saturated for 3.0 s"),
    ],
)
def test_bad_pictures_have_a_condition_each(picture, name, level, sentence):
    report = reported(steady(5), picture=picture)[-1]
    assert report.summary.level == report.conditions[name].level == level
    assert sentence in report.summary.message
    assert report.summary.values["conditions"] == (name if level else "")


def test_picture_checks_can_be_switched_off():
    picture = PictureState(frozen_s=99.0, black_s=99.0, saturated_s=99.0)
    report = reported(steady(5), Limits(1.0, bad_image_after=0.0), picture=picture)[-1]
    assert report.summary.level == Level.OK


def test_publisher_out_of_reach_warns_and_is_an_error_where_nobody_is_heard():
    heard = reported(steady(5), unheard=("/driver offers best effort",))[-1]
    assert heard.summary.level == Level.WARN
    assert "/driver offers best effort" in heard.summary.message
    alone = reported([FrameCounts()], unheard=("/driver offers best effort",))[-1]
    assert alone.conditions["unheard"].level == Level.ERROR


def test_counts_of_an_earlier_activation_are_not_of_now():
    earlier = FrameCounts(received=500, labelled=100, dropped=400, last_arrival=50.0)
    health = CameraHealth("/camera/image", 100.0, earlier)
    report = health.judge(101.5, Sight(earlier), LIMITS)
    assert report.conditions["slow"].level == Level.OK
    assert "no image on /camera/image for 1.5 s since activation" in report.summary.message


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
