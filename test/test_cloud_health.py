"""Verdicts on the semantic cloud, from counts and times alone."""

import pytest

from erf_seg_ros.cloud_health import CloudCounts, CloudHealth, Waiting
from erf_seg_ros.conditions import Level

TOPICS = {"label": "/label", "confidence": "/confidence", "depth": "/depth"}


def waiting(wanted_since=0.0, **gaps_ms):
    return Waiting(TOPICS, {"confidence": None, "depth": None, **gaps_ms}, wanted_since)


def test_nobody_is_no_fault_and_time_counts_from_the_first_subscriber():
    health = CloudHealth(0.0, stale_after=2.0)
    for now in (1.0, 10.0, 100.0):
        verdict = health.judge(now, CloudCounts(), waiting(wanted_since=None))
        assert (verdict.level, verdict.message) == (Level.OK, "nobody subscribes")
    assert health.judge(103.0, CloudCounts(), waiting(wanted_since=101.5)).level is Level.OK
    late = health.judge(104.0, CloudCounts(), waiting(wanted_since=101.5))
    assert late.level is Level.WARN
    assert "no cloud for 2.5 s: nothing arrives on /label" in late.message
    assert health.judge(112.0, CloudCounts(), waiting(wanted_since=101.5)).level is Level.ERROR


def test_clouds_are_healthy_and_the_last_one_is_remembered():
    health = CloudHealth(0.0, stale_after=2.0)
    assert health.judge(5.0, CloudCounts(clouds=50), waiting()).message == "10.0 Hz, 0 ms a cloud"
    assert health.judge(6.9, CloudCounts(clouds=50), waiting()).message == "waiting"
    assert health.judge(7.1, CloudCounts(clouds=50), waiting()).level is Level.WARN


@pytest.mark.parametrize(("stream", "cure"), [("depth", True), ("confidence", False)])
def test_slop_is_offered_where_it_helps(stream, cure):
    received = dict.fromkeys(TOPICS, 3)
    verdict = CloudHealth(0.0, 1.0).judge(5.0, CloudCounts(received), waiting(**{stream: 12.0}))
    assert f"no message on /{stream} has a label's stamp, the closest is 12.0 ms" in verdict.message
    assert ("set slop to more" in verdict.message) == cure
