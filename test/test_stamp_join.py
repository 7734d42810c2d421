"""Messages that belong together: exact stamps, tolerance, bounds, and time that jumps."""

import numpy as np

from erf_seg_core.stamp_join import StampJoin


def join_of(**options):
    return StampJoin(["label", "depth", "confidence"], **options)


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


def test_no_item_is_used_twice_and_every_set_agrees():
    """Shuffled, with losses and repetitions, against the definition."""
    rng = np.random.default_rng(4)
    streams = ("label", "depth", "confidence")
    join = join_of(slop_ns=2, capacity=8)
    used = []
    for stamp in range(0, 4000, 10):
        arriving = [(s, stamp + int(rng.integers(-3, 4))) for s in streams if rng.random() < 0.9]
        rng.shuffle(arriving)
        for found in feed(join, *[(s, int(t)) for s, t in arriving]):
            assert all(abs(found["label"] - found[s]) <= 2 for s in streams)
            used.extend(found.items())
    assert len(used) == len(set(used)) > 300
