"""Scores of a drive against computations that follow the definitions pixel by pixel."""

import math
import time

import cv2
import numpy as np
import pytest

from erf_seg_core.class_sets import VOID_ID
from erf_seg_core.errors import ErfSegError
from erf_seg_core.evaluation import bootstrap, resampling
from erf_seg_core.evaluation.boundary import BoundaryScore, f_score, nearby
from erf_seg_core.evaluation.calibration import Calibration
from erf_seg_core.evaluation.flicker import TemporalConsistency
from erf_seg_core.evaluation.frame_scores import FrameScores
from erf_seg_core.evaluation.metrics import ConfusionMatrix
from erf_seg_core.evaluation.over_time import WorstFrames, frame_miou, windowed_miou

CLASSES = 4


def blobs(rng, size=(60, 80), classes=CLASSES, void=True):
    """Labels with outlines: noise, smoothed until it hangs together."""
    noise = cv2.GaussianBlur(rng.random((*size, classes)).astype(np.float32), (0, 0), 5)
    labels = noise.reshape(*size, classes).argmax(axis=2).astype(np.uint8)
    if void:
        labels[: size[0] // 6, : size[1] // 5] = VOID_ID
    return labels


def confusions(rng, frames, classes=CLASSES):
    matrices = []
    for _ in range(frames):
        confusion = ConfusionMatrix(classes)
        truth = blobs(rng, (12, 16), classes)
        labels = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, classes)).astype(
            np.uint8
        )
        labels[0, -2:] = VOID_ID
        confusion.update(labels, truth)
        matrices.append(confusion.matrix)
    return np.stack(matrices)


def remembering(frames, memory, rng):
    """A series in which every value resembles the one before (autoregressive, order 1)."""
    noise = rng.standard_normal(frames)
    series = np.zeros(frames)
    for i in range(1, frames):
        series[i] = memory * series[i - 1] + noise[i]
    return series


def scored(matrix):
    confusion = ConfusionMatrix(len(matrix))
    confusion.matrix = matrix
    return confusion


# ---- intervals


def test_intervals_are_percentiles_of_the_scores_of_resampled_drives():
    matrices = confusions(np.random.default_rng(1), 20)
    found = bootstrap.confidence_intervals(matrices, block=3, samples=200, seed=5)
    (drawn,) = resampling.resampled_frames(20, 3, 200, seed=5)
    drives = [scored(matrices[row].sum(axis=0)) for row in drawn]
    whole = scored(matrices.sum(axis=0))
    assert found.miou.value == pytest.approx(whole.mean_iou())
    assert found.accuracy.value == pytest.approx(whole.accuracy())
    expected = np.quantile([drive.mean_iou() for drive in drives], [0.025, 0.975])
    assert (found.miou.low, found.miou.high) == pytest.approx(tuple(expected))
    for index, interval in enumerate(found.iou):
        expected = np.quantile([drive.iou()[index] for drive in drives], [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def test_paired_difference_draws_the_same_frames_for_both():
    rng = np.random.default_rng(2)
    first, second = confusions(rng, 25), confusions(rng, 25)
    found = bootstrap.paired_difference(first, second, block=4, samples=100, seed=9)
    (drawn,) = resampling.resampled_frames(25, 4, 100, seed=9)
    changes = [
        scored(second[row].sum(axis=0)).mean_iou() - scored(first[row].sum(axis=0)).mean_iou()
        for row in drawn
    ]
    expected = np.quantile(changes, [0.025, 0.975])
    assert (found.miou.low, found.miou.high) == pytest.approx(tuple(expected))
    same = bootstrap.paired_difference(first, first)
    assert (same.miou.low, same.miou.value, same.miou.high) == (0, 0, 0)
    assert not same.miou.excludes_zero()


def test_quantile_difference_draws_the_same_frames_for_both():
    rng = np.random.default_rng(3)
    first = rng.gamma(9.0, 5.0, 60)
    second = first + rng.normal(4.0, 1.0, 60)
    found = bootstrap.paired_quantile_difference(first, second, 0.95, block=2, samples=80, seed=1)
    (drawn,) = resampling.resampled_frames(60, 2, 80, seed=1)
    changes = [np.percentile(second[row], 95) - np.percentile(first[row], 95) for row in drawn]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(changes, [0.025, 0.975])))
    assert found.value == pytest.approx(np.percentile(second, 95) - np.percentile(first, 95))


def test_resamples_are_runs_of_a_ring_and_reproducible():
    rows = np.concatenate(list(resampling.resampled_frames(10, 4, 500, seed=7)))
    assert rows.shape == (500, 10)
    assert ((rows[:, 1:4] - rows[:, :1]) % 10 == [1, 2, 3]).all()
    assert ((rows[:, 9] - rows[:, 8]) % 10 == 1).all()
    drawn = np.bincount(rows.ravel(), minlength=10)
    assert drawn.min() > 400  # every frame about 500 times, the first and the last too
    again = np.concatenate(list(resampling.resampled_frames(10, 4, 500, seed=7)))
    assert (rows == again).all()


def test_a_long_drive_is_resampled_in_parts(monkeypatch):
    values = np.random.default_rng(0).random((40, 3))
    whole = resampling.resampled_sums(values, 5, 30, seed=2)
    monkeypatch.setattr(resampling, "_INDICES_AT_ONCE", 200)
    rows = list(resampling.resampled_frames(40, 5, 30, seed=2))
    assert [len(part) for part in rows] == [5] * 6
    assert resampling.resampled_sums(values, 5, 30, seed=2) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("frames", "memory", "expected"),
    # `arch.bootstrap.optimal_block_length(...)["circular"]` of arch 8.0.0 for these series.
    [
        (50, 0.5, 3.602),
        (200, 0.0, 1.085),
        (200, 0.9, 20.637),
        (1000, 0.6, 12.937),
        (1000, 0.95, 53.719),
        (3000, 0.3, 10.640),
    ],
)
def test_block_length_is_that_of_the_reference_implementation(frames, memory, expected):
    found = resampling.automatic_block_length(SERIES[frames, memory])
    # Rounded up, and the reference also counts lag 0 when it looks for quiet lags.
    expected = max(expected, resampling.shortest_block(frames))
    assert abs(found - expected) <= 1 + 0.1 * expected


def _series():
    rng = np.random.default_rng(3)
    cases = ((50, 0.5), (200, 0.0), (200, 0.9), (1000, 0.6), (1000, 0.95), (3000, 0.3))
    return {case: remembering(*case, rng) for case in cases}


SERIES = _series()


@pytest.mark.parametrize(
    ("series", "block"), [([], 1), ([1.0], 1), ([1.0, 2.0, 3.0], 1), ([5.0] * 50, 4)]
)
def test_series_that_tell_nothing_give_the_shortest_blocks(series, block):
    assert resampling.automatic_block_length(np.array(series)) == block


def test_blocks_of_a_short_drive_are_not_single_frames():
    for frames, shortest in ((10, 3), (100, 5), (1000, 10)):
        independent = np.random.default_rng(0).normal(size=frames)
        assert resampling.automatic_block_length(independent) >= shortest
    assert [resampling.shortest_block(frames) for frames in (0, 2, 5, 6)] == [1, 1, 1, 2]


def test_blocks_keep_the_promise_that_single_frames_break():
    """How many of the intervals for frames that resemble their neighbours hold the truth.

    It should be 95 %. A drive as short as this one (some twenty independent stretches) falls a
    little short of it; single frames miss by far.
    """
    rng = np.random.default_rng(11)
    held = {1: 0, None: 0}
    drives = 120
    for _ in range(drives):
        # One class of two; the share of its 10 000 pixels that are found wanders around a half.
        found = (5000 + 500 * remembering(400, 0.9, rng)).clip(0, 10000).astype(int)
        matrices = np.zeros((400, 2, 3), np.int64)
        matrices[:, 0, 0], matrices[:, 0, 1] = found, 10000 - found
        for block in held:
            interval = bootstrap.confidence_intervals(matrices, block, samples=200).accuracy
            held[block] += interval.low <= 0.5 <= interval.high
    assert held[1] / drives < 0.6
    assert held[None] / drives > 0.8


def test_influence_is_the_derivative_of_the_miou():
    matrices = confusions(np.random.default_rng(4), 8)
    found = bootstrap.frame_influence(matrices)
    times = 10**6  # so much more weighs the drive than the frame that is added once more
    whole = scored(matrices.sum(axis=0)).mean_iou()
    for index, matrix in enumerate(matrices):
        moved = scored(times * matrices.sum(axis=0) + matrix).mean_iou()
        assert found[index] == pytest.approx((moved - whole) * times, abs=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-12)


def test_too_little_to_tell_is_no_interval():
    one = confusions(np.random.default_rng(5), 1)
    alone = bootstrap.confidence_intervals(one).miou
    assert np.isfinite(alone.value)
    assert np.isnan([alone.low, alone.high]).all()
    assert alone.to_dict()["low"] is None
    assert not alone.excludes_zero()
    absent = np.zeros((5, 2, 3), np.int64)
    absent[:, 0, 0] = 3
    assert np.isnan(bootstrap.confidence_intervals(absent).iou[1].value)
    with pytest.raises(ErfSegError, match="no frame was scored"):
        bootstrap.confidence_intervals(one[:0])
    with pytest.raises(ErfSegError, match="the same"):
        bootstrap.paired_difference(one, confusions(np.random.default_rng(5), 2))


# ---- outlines


def outline_of(mask):
    """Outline of one class as in the DAVIS benchmark's `seg2bmap`."""
    line = np.zeros_like(mask)
    line[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    line[:-1] |= mask[:-1] ^ mask[1:]
    line[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return line


def near(mask, radius):
    """Pixels at most `radius` from the mask, by measuring the distance."""
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (distance <= radius + 1e-3) & mask.any()


@pytest.mark.parametrize("classes", [2, CLASSES, 40], ids=["16 bits", "more", "two passes"])
def test_outlines_are_those_of_davis_class_by_class(classes):
    rng = np.random.default_rng(6)
    truth, labels = blobs(rng, classes=classes, void=False), blobs(rng, classes=classes, void=False)
    score = BoundaryScore(classes, tolerance=0.03)
    frame = score.update(labels, truth)
    radius = math.ceil(0.03 * math.hypot(60, 80))
    expected = []
    for c in range(classes):
        predicted, true = outline_of(labels == c), outline_of(truth == c)
        if not predicted.any() and not true.any():
            expected.append(np.nan)
            continue
        precision = (predicted & near(true, radius)).sum() / max(1, predicted.sum())
        recall = (true & near(predicted, radius)).sum() / max(1, true.sum())
        expected.append(2 * precision * recall / max(1e-12, precision + recall))
    assert score.f_score() == pytest.approx(np.array(expected), nan_ok=True)
    assert score.mean_f_score() == frame == pytest.approx(np.nanmean(expected))


@pytest.mark.parametrize("radius", [0, 1, 3, 7])
def test_what_is_nearby_is_a_disc(radius):
    dots = np.zeros((19, 40), np.uint32)
    dots[3, 5], dots[10, 20], dots[18, 39], dots[11, 22] = 1, 2, 4, 5
    everywhere = np.arange(dots.size)
    around = nearby(dots, everywhere, radius).reshape(dots.shape)
    for bit in (1, 2, 4):
        assert ((around & bit > 0) == near(dots & bit > 0, radius)).all()
    some = everywhere[::7]
    assert (nearby(dots, some, radius) == around.ravel()[some]).all()
    assert len(nearby(dots, everywhere[:0], radius)) == 0


def test_outlines_within_the_tolerance_are_right_and_beyond_it_wrong():
    truth = np.zeros((60, 80), np.uint8)
    truth[20:40, 20:60] = 1
    for shift, expected in ((0, 1.0), (2, 1.0), (15, None)):
        score = BoundaryScore(2, tolerance=0.02)  # two pixels
        frame = score.update(np.roll(truth, shift, axis=1), truth)
        assert frame == 1.0 if expected else frame < 0.8
    missed = BoundaryScore(2)
    assert missed.update(np.zeros_like(truth), truth) == 0.0
    assert np.isnan(BoundaryScore(2).update(np.zeros_like(truth), np.zeros_like(truth)))


def test_outlines_against_void_do_not_count():
    truth = np.zeros((60, 80), np.uint8)
    truth[:, 38:] = VOID_ID
    truth[:, 44:] = 1
    labels = np.zeros_like(truth)
    labels[:, 41:] = 1  # somewhere in the unknown band, where it may well be right
    score = BoundaryScore(2, tolerance=0.02)
    assert np.isnan(score.update(labels, truth))
    assert score.counts.sum() == 0
    labels[:, 10:] = 1  # clearly wrong, far from it
    assert score.update(labels, truth) == 0.0


def test_counts_of_two_parts_add_up_to_the_whole():
    rng = np.random.default_rng(8)
    pairs = [(blobs(rng), blobs(rng)) for _ in range(4)]
    whole, parts = BoundaryScore(CLASSES), [BoundaryScore(CLASSES), BoundaryScore(CLASSES)]
    for index, (labels, truth) in enumerate(pairs):
        whole.update(labels, truth)
        parts[index % 2].update(labels, truth)
    assert (parts[0].counts + parts[1].counts == whole.counts).all()
    assert f_score(whole.counts) == pytest.approx(whole.f_score())
    with pytest.raises(ErfSegError, match="truth's size"):
        whole.update(pairs[0][0][:-1], pairs[0][1])


def test_a_camera_frame_takes_milliseconds():
    """Faster than the plain way, a distance transform for each class and picture."""
    rng = np.random.default_rng(9)
    truth, labels = (blobs(rng, (360, 480), 11) for _ in range(2))
    score = BoundaryScore(11)
    ours, transforms = [], []
    for _ in range(7):
        start = time.perf_counter()
        score.update(labels, truth)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        for c in range(11):
            for picture in (labels, truth):
                near(outline_of(picture == c), 5)
        transforms.append(time.perf_counter() - start)
    assert min(ours) < min(transforms)


# ---- flicker


def test_flicker_counts_changes_where_truth_stays():
    before = np.array([[0, 1, 2, 0]], np.uint8)
    after = np.array([[0, 1, 0, 1]], np.uint8)
    truth_before = np.array([[0, 0, 2, VOID_ID]], np.uint8)
    truth_after = np.array([[0, 1, 2, VOID_ID]], np.uint8)
    plain, judged = TemporalConsistency(), TemporalConsistency()
    assert plain.update(before, after) == 0.5
    assert judged.update(before, after, truth_before, truth_after) == 0.5  # one of two
    assert judged.update(before, before, truth_before, truth_after) == 0.0
    assert (judged.changed, judged.compared) == (1, 4)
    assert judged.flicker() == 0.25
    assert np.isnan(TemporalConsistency().flicker())
    void = np.full((1, 4), VOID_ID, np.uint8)
    assert np.isnan(TemporalConsistency().update(before, after, void, void))


# ---- calibration


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_pictures_of_a_few_pixels_are_scored(size):
    rng = np.random.default_rng(11)
    confidence = np.full(size, 99, np.uint8)
    confusion, calibration = ConfusionMatrix(CLASSES), Calibration()
    outlines = BoundaryScore(CLASSES)
    right = known = 0
    for _ in range(20):
        truth, labels = rng.choice(np.array([0, 1, VOID_ID], np.uint8), (2, *size))
        confusion.update(labels, truth)
        calibration.update(labels, confidence, truth)
        outlines.update(labels, truth)
        both = (truth != VOID_ID) & (labels != VOID_ID)
        known, right = known + both.sum(), right + (both & (truth == labels)).sum()
    assert calibration.counts[99].tolist() == [known, right]
    assert np.trace(confusion.matrix) == right
    assert confusion.matrix[:, :-1].sum() == known


def test_reliability_pixel_by_pixel():
    rng = np.random.default_rng(10)
    truth, labels = blobs(rng), blobs(rng)
    labels[5:9] = VOID_ID
    confidence = rng.integers(0, 256, truth.shape).astype(np.uint8)
    calibration = Calibration()
    calibration.update(labels[:30], confidence[:30], truth[:30])
    calibration.update(labels[30:], confidence[30:], truth[30:])
    known = (truth != VOID_ID) & (labels != VOID_ID)
    sure, right = confidence[known] / 255, (labels == truth)[known]
    curve = calibration.reliability(10)
    error = 0.0
    for b in range(10):
        inside = (sure <= (b + 1) / 10) & ((sure > b / 10) | ((b == 0) & (sure == 0)))
        assert curve.pixels[b] == inside.sum()
        assert curve.accuracy[b] == pytest.approx(right[inside].mean())
        assert curve.confidence[b] == pytest.approx(sure[inside].mean())
        error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert curve.error() == pytest.approx(error)


def test_calibrated_confidence_has_no_error_and_boasting_has():
    rng = np.random.default_rng(12)
    truth = np.zeros((500, 500), np.uint8)
    confidence = rng.integers(128, 256, truth.shape).astype(np.uint8)
    labels = (rng.random(truth.shape) > confidence / 255).astype(np.uint8)
    honest, boasting = Calibration(), Calibration()
    honest.update(labels, confidence, truth)
    boasting.update(labels, np.full_like(confidence, 255), truth)
    assert honest.error() < 0.01
    assert boasting.error() == pytest.approx((labels != truth).mean())
    assert np.isnan(Calibration().error())
    assert np.isnan(Calibration().reliability().accuracy).all()


# ---- over time


def test_moving_window_sums_the_frames_around():
    matrices = confusions(np.random.default_rng(13), 9)
    for window in (1, 2, 5, 50):
        found = windowed_miou(matrices, window)
        for index in range(9):
            first = max(0, index - window // 2)
            inside = matrices[first : index - window // 2 + window]
            assert found[index] == pytest.approx(scored(inside.sum(axis=0)).mean_iou())
    assert frame_miou(matrices) == pytest.approx(windowed_miou(matrices, 1))


def test_worst_frames_are_the_lowest_that_are_apart():
    scores = [0.9, 0.3, 0.2, 0.25, 0.8, float("nan"), 0.1, 0.7, 0.15, 0.6, 0.5]
    worst, kept = WorstFrames(3, apart=3), []

    def keep(index):
        kept.append(index)
        return np.full(2, index)  # arrays: nothing may ask whether two are equal

    for index, score in enumerate(scores):
        worst.add(index, score, lambda index=index: keep(index))
    found = worst.worst_first()
    assert [frame.index for frame in found] == [6, 2, 10]
    assert [frame.kept[0] for frame in found] == [6, 2, 10]
    assert found[0].score == 0.1
    assert 3 not in kept  # beside a worse one: its pictures were never made


# ---- the file


def some_scores(frames=6):
    rng = np.random.default_rng(14)
    return FrameScores(
        tuple("abcd"),
        np.array(["drive"] * frames),
        10**18 + np.arange(frames),
        confusions(rng, frames).astype(np.int32),
        rng.random(frames),
    )


def test_frame_scores_survive_the_file(tmp_path):
    scores = some_scores()
    scores.save(tmp_path / "confusion.npz")
    found = FrameScores.load(tmp_path / "confusion.npz")
    assert found.class_names == scores.class_names
    for name in ("bag", "stamps_ns", "confusion", "latency_ms"):
        assert (getattr(found, name) == getattr(scores, name)).all()
    part = found.rows(np.array([4, 1]))
    assert part.stamps_ns.tolist() == scores.stamps_ns[[4, 1]].tolist()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_files_that_are_no_scores_are_refused(tmp_path, content):
    path = tmp_path / "confusion.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ErfSegError, match=r"confusion\.npz holds no frame scores"):
        FrameScores.load(path)


def test_rows_that_do_not_fit_together_are_refused():
    scores = some_scores()
    with pytest.raises(ErfSegError, match="do not fit"):
        FrameScores(("a", "b"), scores.bag, scores.stamps_ns, scores.confusion, scores.latency_ms)
