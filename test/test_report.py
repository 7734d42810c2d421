"""The report: matching by stamp, sums, figures and the page itself."""

import json
import re
import resource
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from erf_seg_core.checkpoint import CheckpointInfo
from erf_seg_core.class_sets import ClassSet, load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.report import figures
from erf_seg_core.report.frames import (
    Distribution,
    Fate,
    FrameOutcome,
    FrameTotals,
    achieved_rate_hz,
    latencies,
    write_frames_csv,
)
from erf_seg_core.report.matched_frames import MatchedFrame, matched_frames
from erf_seg_core.report.pictures import spread
from erf_seg_core.report.scoring import RecordedScores, why_not_comparable
from erf_seg_core.report.summary import ReplaySummary, Source
from erf_seg_core.report.video import OverlayVideo

PERIOD_NS = 100_000_000
FIRST_NS = 1_700_000_000_123_456_789
CLASSES = ClassSet("two", ("road", "<script>alert(1)</script>"), ((10, 20, 30), (200, 100, 0)))


def outcome(index, ms=None):
    stamp_ns = FIRST_NS + index * PERIOD_NS
    if ms is None:
        return FrameOutcome(stamp_ns, Fate.MISSING)
    times = {"age_on_arrival": 1.0, "network": ms - 1.0, "end_to_end": ms}
    return FrameOutcome(stamp_ns, Fate.LABELLED, times)


FRAMES = [outcome(0, 30.0), outcome(1), outcome(2, 50.0), outcome(3, 40.0)]


def stamped(*indices, value=0):
    return [(FIRST_NS + i * PERIOD_NS, "camera", np.full((4, 6), value, np.uint8)) for i in indices]


def images(*indices):
    return [
        (stamp, frame, cv2.cvtColor(a, cv2.COLOR_GRAY2BGR)) for stamp, frame, a in stamped(*indices)
    ]


def test_frames_are_matched_by_exact_stamp():
    late = [(stamp + 1, frame, array) for stamp, frame, array in stamped(3)]
    matched = list(matched_frames(images(0, 1, 2, 3), stamped(0, 2, 5), [*stamped(1, 2), *late]))
    assert [m.labels is not None for m in matched] == [True, False, True, False]
    assert [m.truth is not None for m in matched] == [False, True, True, False]


def test_matching_reads_no_further_than_it_must():
    taken = []

    def source():
        for item in stamped(*range(100)):
            taken.append(item)
            yield item

    next(matched_frames(images(0, 1), source(), ()))
    assert len(taken) == 1


def test_scores_count_frames_with_label_and_truth_only():
    scores = RecordedScores(CLASSES)
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    labels = np.array([[0, 1, 1, 0]], np.uint8)
    picture = np.zeros((1, 4, 3), np.uint8)
    assert scores.scores() is None
    scores.add(MatchedFrame(0, picture, None, truth))
    scores.add(MatchedFrame(1, picture, labels, None))
    assert scores.scores() is None
    scores.add(MatchedFrame(2, picture, labels, truth))
    result = scores.scores()
    assert result.images == 1
    assert result.confusion.iou().tolist() == [0.5, 0.5]


def test_labels_of_another_size_are_scored_at_the_truths():
    scores = RecordedScores(CLASSES)
    labels = np.array([[0, 1]], np.uint8)
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.uint8)
    scores.add(MatchedFrame(0, np.zeros((2, 4, 3), np.uint8), labels, truth))
    assert scores.scores().confusion.accuracy() == 1.0


def test_flicker_is_counted_between_neighbours_only():
    scores = RecordedScores(CLASSES)
    picture = np.zeros((1, 4, 3), np.uint8)
    one, other = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    for index, labels in enumerate((one, other, None, one, one)):
        scores.add(MatchedFrame(index, picture, labels, None))
    assert (scores.consistency.changed, scores.consistency.compared) == (1, 8)
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    judged = RecordedScores(CLASSES)
    for index, labels in enumerate((one, other)):
        judged.add(MatchedFrame(index, picture, labels, truth))
    assert (judged.consistency.changed, judged.consistency.compared) == (1, 3)


def test_changes_without_truth_are_not_added_to_those_with():
    scores = RecordedScores(CLASSES)
    picture = np.zeros((1, 4, 3), np.uint8)
    for index in range(6):  # a perfect network in a moving scene, with truth now and then
        labels = np.full((1, 4), index % 2, np.uint8)
        scores.add(MatchedFrame(index, picture, labels, labels if index % 3 == 0 else None))
    assert scores.scores().confusion.accuracy() == 1.0
    assert scores.consistency.compared == 0


def test_scores_of_each_frame_carry_its_time():
    scores = RecordedScores(CLASSES)
    assert scores.frame_scores("drive", FRAMES) is None
    labels = np.array([[0, 1]], np.uint8)
    for index in (0, 2):
        stamp_ns = FIRST_NS + index * PERIOD_NS
        miou = scores.add(MatchedFrame(stamp_ns, np.zeros((1, 2, 3), np.uint8), labels, labels))
        assert miou == 1.0
    found = scores.frame_scores("drive", FRAMES)
    assert found.latency_ms.tolist() == [30.0, 50.0]
    assert found.confusion.sum() == 4
    assert found.bag.tolist() == ["drive", "drive"]


def test_other_class_sets_are_not_scored_and_the_reason_names_both():
    cityscapes, camvid = load_class_set("cityscapes19"), load_class_set("camvid11")
    assert why_not_comparable(camvid, camvid) == ""
    reason = why_not_comparable(cityscapes, camvid)
    assert "cityscapes19" in reason
    assert "camvid11" in reason


def test_distributions_leave_out_frames_without_times():
    assert latencies(FRAMES)["end_to_end"] == Distribution(40.0, 49.0, 50.0)
    assert latencies([outcome(0)]) == {}


def test_stamps_that_are_missing_do_not_reach_the_distributions():
    unstamped = FrameOutcome(0, Fate.LABELLED, {"age_on_arrival": float("nan"), "network": 5.0})
    assert list(latencies([unstamped])) == ["network"]


def test_rate_counts_labels_in_recorded_time():
    assert achieved_rate_hz(FRAMES) == pytest.approx(7.5)  # three of four frames at 10 Hz
    assert np.isnan(achieved_rate_hz(FRAMES[:1]))
    first = [replace(frame, bag="first") for frame in FRAMES]
    for seconds in (0, 86400):  # of two bags the pause between, or the overlap, does not count
        later = [replace(f, bag="b", stamp_ns=f.stamp_ns + seconds * 10**9) for f in FRAMES]
        assert achieved_rate_hz([*first, *later]) == pytest.approx(7.5)


def test_csv_has_a_row_for_every_frame(tmp_path):
    write_frames_csv(tmp_path / "frames.csv", FRAMES)
    rows = [line.split(",") for line in (tmp_path / "frames.csv").read_text().splitlines()]
    assert rows[0] == ["stamp_ns", "fate", "age_on_arrival_ms", "network_ms", "end_to_end_ms"]
    assert [row[0] for row in rows[1:]] == [str(frame.stamp_ns) for frame in FRAMES]
    assert rows[2][1:] == ["missing", "", "", ""]
    assert rows[3][1:] == ["labelled", "1.000", "49.000", "50.000"]


def test_spread_keeps_first_and_last():
    assert spread(range(100), 3) == [0, 50, 99]
    assert spread([5, 6], 3) == [5, 6]
    assert spread([], 3) == []


def test_bar_shows_every_fate_in_proportion():
    svg = figures.fates_bar(FrameTotals(10, 5, dropped=3, lost_to_node=2))
    widths = [float(w) + 1 for w in re.findall(r'width="([\d.]+)" height="34"', svg)]
    assert widths == pytest.approx([figures.WIDTH * share for share in (0.5, 0.3, 0.2)], abs=0.2)
    assert "Of 10 frames: 5 labelled, 3 dropped for a newer frame, 2 image lost" in svg


@pytest.mark.parametrize("values", [[0.0], [7.0], [1e-4, 2e-4], [3.0, 12000.0]])
def test_histogram_holds_every_frame_whatever_the_range(values):
    spread = Distribution.of(values)
    longest = figures.longest_shown_ms([spread])
    svg = figures.latency_histogram(values, spread, longest)
    assert f"over {len(values)} frames" in svg
    assert svg.count('class="fill-model0"') >= 1
    assert "nan" not in svg


def test_one_slow_frame_does_not_squeeze_the_others():
    values = [10.0] * 99 + [2000.0]
    spread = Distribution.of(values)
    longest = figures.longest_shown_ms([spread])
    assert longest == 15.0
    svg = figures.latency_histogram(values, spread, longest)
    assert "1 longer, up to 2000 ms" in svg
    assert figures.longest_shown_ms([Distribution.of([10.0, 20.0])]) == 20.0


def recorded_scores():
    scores = RecordedScores(CLASSES)
    labels = np.array([[0, 0, 0, 1]], np.uint8)
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    scores.add(MatchedFrame(FIRST_NS, np.zeros((1, 4, 3), np.uint8), labels, truth))
    return scores


def make_summary():
    return ReplaySummary(
        source=Source("bags/<b>drive</b>", "/camera/image_raw", (360, 480), 10.0),
        model=CheckpointInfo("dg4", 2, CLASSES, (360, 480), notes="trained <i>briefly</i>"),
        engine="onnxruntime",
        frames=FRAMES,
        totals=FrameTotals(4, 3, dropped=1),
        scores=recorded_scores().scores(),
        scores_note="",
        lateness_ms=[0.1, 0.2, 0.1, 0.3],
        machine={"processor": "two cores"},
        interrupted=False,
        created="2030-01-01",
        files={"summary": "out/summary.json"},
    )


def test_json_has_the_same_numbers(tmp_path):
    make_summary().write_json(tmp_path / "summary.json")
    data = json.loads((tmp_path / "summary.json").read_text())
    assert data["frames"]["labelled"] == 3
    assert data["latency_ms"]["end_to_end"]["median"] == 40.0
    assert data["scores"]["miou"] == pytest.approx(7 / 12, abs=1e-6)
    assert data["source"]["image_size"] == [360, 480]


def test_table_adds_up_in_words():
    table = make_summary().table()
    assert "4 recorded = 3 labelled + 1 dropped for a newer frame" in table
    assert "58.33 % over 1 frames" in table


def test_video_has_every_frame_and_opens(tmp_path):
    classes = load_class_set("camvid11")
    image = np.full((91, 121, 3), 128, np.uint8)
    labels = np.full((91, 121), 3, np.uint8)
    path = tmp_path / "overlay.webm"
    with OverlayVideo(path, classes, 10.0) as video:
        for index in range(5):
            video.add(MatchedFrame(index, image, labels if index in (1, 3) else None, None))
    reader = cv2.VideoCapture(str(path))
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1])
    assert len(frames) == 5
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    color = np.array(classes.colors[3])[::-1]
    # No label yet, its label, the label of the frame before at half the strength, …
    for frame, alpha in zip(frames, (0.0, 0.5, 0.25, 0.5, 0.25), strict=True):
        expected = (1 - alpha) * 128 + alpha * color
        assert np.abs(frame[120, 160] - expected).max() < 12


def test_video_in_a_folder_with_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("12:30").mkdir()
    with OverlayVideo(Path("12:30/overlay.webm"), CLASSES, 10.0) as video:
        video.add(MatchedFrame(0, np.zeros((90, 120, 3), np.uint8), None, None))
    assert Path("12:30/overlay.webm").stat().st_size > 100


def test_video_that_cannot_be_written_is_an_error(tmp_path):
    frame = MatchedFrame(0, np.zeros((90, 120, 3), np.uint8), None, None)
    video = OverlayVideo(tmp_path / "missing" / "overlay.webm", CLASSES, 10.0)
    with pytest.raises(ErfSegError, match="missing"):
        video.add(frame)


def test_video_that_a_full_disk_cuts_is_an_error(tmp_path):
    """A limit on the size of files stands in for the disk: the system refuses in the same way."""
    rng = np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    video = OverlayVideo(tmp_path / "overlay.webm", CLASSES, 10.0)
    for index in range(20):
        video.add(MatchedFrame(index, rng.integers(0, 256, (90, 120, 3), np.uint8), None, None))
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(ErfSegError, match=r"overlay\.webm could not be written whole"):
            video.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
