"""Messages that belong together: exact stamps, tolerance, bounds, and time that jumps."""

import time

import numpy as np
import pytest

from erf_seg_core.stamp_join import StampJoin

PERIOD = 33
LATE = {"depth": 10, "confidence": 60, "label": 61}
"""By stream, when its message comes after its stamp: labels of a slow network."""
EARLY = {"label": 5, "confidence": 6, "depth": 12}
"""The same where the depth takes longer than the network."""


def join_of(slop_ns=0, **options):
    return StampJoin({"label": 0, "depth": slop_ns, "confidence": 0}, **options)


def feed(join, *pairs):
    """Add (stream, stamp) items, which are called by both; returns the stamps that were joined."""
    joined = []
    for stream, stamp in pairs:
        found = join.add(stream, stamp, (stream, stamp))
        if found:
            assert {stream: item[0] for stream, item in found.items()} == {s: s for s in found}
            joined.append({stream: item[1] for stream, item in found.items()})
    return joined


def test_set_is_complete_with_its_last_member_in_whatever_order():
    streams = ["label", "depth", "confidence"]
    for order in (streams, streams[::-1], ["depth", "label", "confidence"]):
        join = join_of()
        assert feed(join, *[(stream, 7) for stream in order[:-1]]) == []
        assert feed(join, (order[-1], 7)) == [dict.fromkeys(order, 7)]
        assert join.unmatched == 0


def test_labels_that_come_late_find_their_depth():
    join = join_of()
    depths = [("depth", stamp) for stamp in range(10)]
    late = [(stream, 3) for stream in ("label", "confidence")]
    assert feed(join, *depths, *late) == [{"label": 3, "depth": 3, "confidence": 3}]
    again = [(stream, 8) for stream in ("confidence", "label")]
    assert feed(join, *again) == [{"label": 8, "depth": 8, "confidence": 8}]


def test_stamps_must_agree_exactly_without_slop():
    join = join_of()
    assert feed(join, ("label", 1000), ("confidence", 1000), ("depth", 1001)) == []
    assert join.gap_ns("depth") == 1
    assert join.gap_ns("confidence") == 0


def test_slop_takes_the_closest():
    join = join_of(slop_ns=5)
    early = [("depth", 91), ("depth", 97), ("depth", 104), ("confidence", 100)]
    assert feed(join, *early, ("label", 100)) == [{"label": 100, "depth": 97, "confidence": 100}]
    assert feed(join, ("label", 200), ("confidence", 200), ("depth", 206)) == []
    assert feed(join, ("depth", 205)) == [{"label": 200, "depth": 205, "confidence": 200}]


def test_older_items_go_with_a_match_and_labels_among_them_are_counted():
    join = join_of()
    feed(join, *[("label", stamp) for stamp in (1, 2, 3)], ("depth", 3), ("confidence", 3))
    assert join.unmatched == 2
    assert feed(join, ("depth", 2), ("confidence", 2)) == []  # its label is gone


def test_buffers_are_bounded():
    join = join_of(capacity=4)
    feed(join, *[("label", stamp) for stamp in range(10)])
    assert join.unmatched == 6
    assert feed(join, ("depth", 5), ("confidence", 5)) == []
    assert feed(join, ("depth", 6), ("confidence", 6)) == [
        dict.fromkeys(("label", "depth", "confidence"), 6)
    ]


def test_time_that_jumps_back_costs_nothing():
    join = join_of()
    streams = ("label", "depth", "confidence")
    for _ in range(3):  # a bag in a loop
        joined = feed(join, *[(stream, stamp) for stamp in range(100, 160) for stream in streams])
        assert len(joined) == 60
    assert join.unmatched == 0


def test_gap_is_unknown_while_one_side_is_silent():
    join = join_of()
    feed(join, ("label", 5))
    assert join.gap_ns("depth") is None


def test_no_label_is_used_twice_and_every_set_agrees():
    """Shuffled, with losses and repetitions, against the definition."""
    rng = np.random.default_rng(4)
    join = join_of(slop_ns=2, capacity=8)
    used = []
    for stamp in range(0, 4000, 10):
        label = stamp + int(rng.integers(-1, 2))
        stamps = {"label": label, "confidence": label, "depth": stamp + int(rng.integers(-1, 2))}
        arriving = [item for item in stamps.items() if rng.random() < 0.9]
        rng.shuffle(arriving)
        for found in feed(join, *[(s, int(t)) for s, t in arriving]):
            assert abs(found["label"] - found["depth"]) <= 2
            assert found["label"] == found["confidence"]
            used.append(found["label"])
    assert len(used) == len(set(used)) > 270


def test_tolerance_is_for_its_stream_only():
    join = join_of(slop_ns=5)
    assert feed(join, ("depth", 98), ("confidence", 99), ("label", 100)) == []
    assert feed(join, ("confidence", 101)) == []
    assert feed(join, ("confidence", 100)) == [{"label": 100, "depth": 98, "confidence": 100}]


def drive(delays, lost=(), offset=0, frames=200):
    """Sets of a drive as (time, {stream: stamp}); slop is more than a period.

    `lost` are (stream, frame); `offset` is added to the depth's stamps.
    """
    join = join_of(slop_ns=50)
    messages = [
        (frame * PERIOD + delay, stream, frame * PERIOD + (offset if stream == "depth" else 0))
        for frame in range(frames)
        for stream, delay in delays.items()
        if (stream, frame) not in lost
    ]
    return [
        (now, found)
        for now, stream, stamp in sorted(messages, key=lambda message: message[0])
        for found in feed(join, (stream, stamp))
    ]


@pytest.mark.parametrize("delays", [LATE, EARLY], ids=["labels late", "labels early"])
@pytest.mark.parametrize(
    "lost",
    [
        [],
        [("depth", 20)],
        [("depth", frame) for frame in range(20, 25)],
        [("label", 20)],
        [("confidence", 20)],
        [("label", 20), ("depth", 40), ("depth", 41), ("confidence", 60)],
    ],
    ids=str,
)
def test_a_loss_costs_its_own_frames_only(delays, lost):
    """Without care one lost depth, or label, shifts the depth by a frame for ever after."""
    sets = [found for _, found in drive(delays, lost)]
    affected = {frame * PERIOD for _, frame in lost}
    exact = [found["label"] for found in sets if len(set(found.values())) == 1]
    assert {stamp * PERIOD for stamp in range(200)} - affected <= set(exact)
    assert all(found["confidence"] == found["label"] for found in sets)


def test_random_losses_cost_their_own_frames_only():
    rng = np.random.default_rng(7)
    lost = {(s, frame) for s in LATE for frame in range(2000) if rng.random() < 0.1}
    sets = [found for _, found in drive(LATE, lost, frames=2000)]
    for found in sets:
        frame = found["label"] // PERIOD
        assert found["confidence"] == found["label"]
        assert found["depth"] == found["label"] or ("depth", frame) in lost
    assert len(sets) > 1500


@pytest.mark.parametrize("offset", [-15, 0, 4])
def test_a_set_is_complete_with_its_last_message_as_long_as_nothing_closer_is_due(offset):
    delays = {"depth": 2, "confidence": 7, "label": 8}
    for now, found in drive(delays, offset=offset):
        assert found["depth"] == found["label"] + offset
        assert now == found["label"] + 8


def test_a_label_before_its_depth_does_not_take_that_of_the_label_before():
    join = join_of(slop_ns=50)
    first = [(stream, 100) for stream in ("depth", "confidence", "label")]
    assert len(feed(join, *first)) == 1
    assert feed(join, ("confidence", 133), ("label", 133)) == []
    assert feed(join, ("depth", 133)) == [dict.fromkeys(("label", "depth", "confidence"), 133)]


def test_depth_slower_than_the_labels_serves_several():
    join = join_of(slop_ns=20)
    joined = feed(
        join,
        *[("depth", 0), ("depth", 60)],
        *[(stream, stamp) for stamp in (0, 15, 45, 60) for stream in ("confidence", "label")],
    )
    assert [(found["label"], found["depth"]) for found in joined] == [
        (0, 0),
        (15, 0),
        (45, 60),
        (60, 60),
    ]


def test_a_label_that_the_depth_has_passed_waits_no_longer():
    join = join_of(slop_ns=20)
    assert feed(join, ("depth", 90), ("confidence", 85), ("label", 85))
    assert feed(join, ("confidence", 100), ("label", 100)) == []  # its own depth may come
    assert feed(join, ("depth", 200)) == [{"label": 100, "depth": 90, "confidence": 100}]


def test_a_stamp_that_comes_again_counts_as_the_newest():
    join = join_of(capacity=3)
    loops = [("depth", stamp) for stamp in (1, 2, 3, 1, 9)]
    assert feed(join, *loops, ("confidence", 1), ("label", 1))


def test_items_need_no_more_room_than_there_is():
    join = StampJoin({"label": 0, "points": 0}, capacity=30, room=100)
    for stamp in range(10):
        join.add("points", stamp, "cloud", size=30)
        join.add("label", stamp + 100, "small", size=1)
    assert join.add("points", 10, "vast", size=1000) is None
    assert join.add("label", 9, "label") is None  # made room for the vast one, which stays
    assert join.add("label", 10, "label") == {"label": "label", "points": "vast"}
    join = StampJoin({"label": 0, "points": 0}, capacity=30, room=100)
    for stamp in range(10):
        join.add("points", stamp, stamp, size=30)
    assert join.add("label", 6, "label") is None
    assert join.add("label", 7, "label") == {"label": "label", "points": 7}


def test_cleared_items_are_gone_and_not_counted():
    join = join_of(slop_ns=5)
    feed(join, ("label", 1), ("label", 2), ("depth", 2), ("depth", 300))
    join.clear()
    assert join.unmatched == 0
    assert join.gap_ns("depth") is None
    assert feed(join, ("confidence", 2)) == []
    again = [("confidence", 2), ("depth", 1), ("label", 2)]
    assert feed(join, *again) == [{"label": 2, "depth": 1, "confidence": 2}]


def test_gap_is_the_least_of_all_and_quickly_found():
    join = join_of(capacity=1000)
    labels, depths = np.random.default_rng(2).permutation(10**7)[:2000].reshape(2, 1000)
    feed(join, *[("label", int(t)) for t in labels], *[("depth", int(t)) for t in depths])
    started = time.process_time()
    gap = join.gap_ns("depth")
    assert time.process_time() - started < 0.03  # a million pairs would take ten times as long
    assert gap == np.abs(labels[:, None] - depths).min() > 0
