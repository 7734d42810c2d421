"""Newest-only mailbox and frame counts."""

import threading
import time

from erf_seg_ros.frame_counts import FrameCounter
from erf_seg_ros.newest_frames import NewestFrames


def test_newer_frame_displaces_the_waiting_one():
    frames = NewestFrames(["front"])
    assert frames.put("front", 1) is False
    assert frames.put("front", 2) is True
    assert frames.take() == {"front": 2}
    assert frames.put("front", 3) is False


def test_take_returns_what_waits_and_not_the_silent_camera():
    frames = NewestFrames(["front", "left", "right"])
    frames.put("right", "r")
    frames.put("front", "f")
    assert frames.take() == {"front": "f", "right": "r"}
    assert frames.take(timeout=0.0) == {}


def test_take_wakes_up_for_a_frame_of_another_thread():
    frames = NewestFrames(["front"])
    taken = []
    reader = threading.Thread(target=lambda: taken.append(frames.take(timeout=10.0)))
    reader.start()
    frames.put("front", 7)
    reader.join(10.0)
    assert taken == [{"front": 7}]


def test_close_releases_the_reader_and_returns_what_is_left():
    frames = NewestFrames(["front", "left"])
    reader = threading.Thread(target=frames.take)
    reader.start()
    assert frames.close() == {}
    reader.join(10.0)
    assert not reader.is_alive()
    assert frames.closed

    frames = NewestFrames(["front", "left"])
    frames.put("left", 1)
    assert frames.close() == {"left": 1}
    assert frames.take() == {}


def test_a_frame_after_the_end_is_lost():
    frames = NewestFrames(["front"])
    frames.close()
    assert frames.put("front", 1) is True
    assert frames.close() == {}


def test_every_frame_is_either_taken_or_reported_displaced():
    frames = NewestFrames(["front"])
    taken, displaced, count = [], [], 2000

    def read():
        while len(taken) + sum(displaced) < count:
            taken.extend(frames.take(timeout=0.05).values())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(count):
        displaced.append(frames.put("front", number))
    reader.join(10.0)
    assert len(taken) + sum(displaced) == count
    assert taken == sorted(taken)
    assert taken[-1] == count - 1


def test_counter_accounts_for_each_frame():
    counter = FrameCounter()
    before = time.monotonic()
    counter.received(one_lost=False)
    counter.received(one_lost=True)
    counter.malformed("no pixels")
    counter.received(one_lost=False)
    counter.labelled(latency_ms=20.0, age_ms=float("nan"))
    counter.received(one_lost=False)
    counter.labelled(latency_ms=40.0, age_ms=5.0)
    counter.received(one_lost=False)
    counter.failed("out of memory")
    counts = counter.now()
    ends = counts.labelled + counts.dropped + counts.malformed + counts.failed
    assert counts.received == ends == 5
    assert (counts.last_malformed, counts.last_failure) == ("no pixels", "out of memory")
    assert (counts.latency_sum_ms, counts.age_sum_ms) == (60.0, 5.0)
    assert before <= counts.last_arrival <= time.monotonic()
