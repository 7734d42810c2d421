"""The page, of a live replay and of several models offline: its numbers, figures and pictures."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from erf_seg_core.checkpoint import CheckpointInfo
from erf_seg_core.class_sets import ClassSet
from erf_seg_core.evaluation.bootstrap import Interval, confidence_intervals, paired_difference
from erf_seg_core.evaluation.boundary import BoundaryScore
from erf_seg_core.evaluation.calibration import Calibration
from erf_seg_core.evaluation.flicker import TemporalConsistency
from erf_seg_core.evaluation.frame_scores import FrameScores
from erf_seg_core.replay_evaluation.summary import table_of
from erf_seg_core.report import score_figures
from erf_seg_core.report.contents import ModelResult, ReportContents
from erf_seg_core.report.frames import Distribution, Fate, FrameOutcome, FrameTotals
from erf_seg_core.report.html import window_frames, write_report
from erf_seg_core.report.matched_frames import MatchedFrame
from erf_seg_core.report.measures import measures, seconds_of
from erf_seg_core.report.metrics import metric_in_words
from erf_seg_core.report.pictures import StripCollector, make_strip
from erf_seg_core.report.plot import Series, lines_over_time, thinned
from erf_seg_core.report.score_figures import Entry

NAMES = ("road", "<script>alert(1)</script>", "sky", "pole")
CLASSES = ClassSet("four", NAMES, ((128, 64, 128), (200, 100, 0), (70, 130, 180), (90, 90, 90)))
PERIOD_NS = 100_000_000
FIRST_NS = 1_700_000_000_123_456_789


class Page(HTMLParser):
    """Text, tags, references and descriptions of a page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.texts, self.links, self.alts, self.labels = [], [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.links += [values[name] for name in ("src", "href") if name in values]
        self.labels += [values["aria-label"]] if "aria-label" in values else []
        if tag == "img":
            self.alts.append(values.get("alt"))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def live_frames():
    frames = []
    for index, ms in enumerate((30.0, None, 50.0, 40.0)):
        stamp_ns = FIRST_NS + index * PERIOD_NS
        if ms is None:
            frames.append(FrameOutcome(stamp_ns, Fate.MISSING))
            continue
        times = {"age_on_arrival": 1.0, "network": ms - 1.0, "end_to_end": ms}
        frames.append(FrameOutcome(stamp_ns, Fate.LABELLED, times))
    return frames


def one_pixel_wrong(stamps):
    """Scores of frames with four pixels, one of which is wrong; the class "pole" never occurs."""
    matrix = np.zeros((4, 5), np.int32)
    matrix[0, 0], matrix[1, 1], matrix[1, 0] = 2, 1, 1
    stamps = np.array(stamps, np.int64)
    bags = np.array(["bags/drive"] * len(stamps))
    return FrameScores(NAMES, bags, stamps, np.array([matrix] * len(stamps)), 0.0 * stamps)


def pictures(names, note=""):
    image = np.full((60, 80, 3), 90, np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    return make_strip(FIRST_NS, image, labels, dict.fromkeys(names, labels), CLASSES, note=note)


def live_contents(**changes):
    result = ModelResult(
        name="dg4",
        info=CheckpointInfo("dg4", 4, CLASSES, (360, 480), notes="trained <i>briefly</i>"),
        class_set=CLASSES,
        engine="onnxruntime",
        frames=live_frames(),
        scores=one_pixel_wrong([FIRST_NS]),
        totals=FrameTotals(4, 3, dropped=1),
    )
    of_result = {name: changes.pop(name) for name in list(changes) if hasattr(result, name)}
    values = {
        "bags": ["bags/<b>drive</b>"],
        "image_topic": "/camera/image_raw",
        "image_size": (360, 480),
        "rate_hz": 10.0,
        "live": True,
        "models": [replace(result, **of_result)],
        "machine": {"processor": "two cores"},
        "created": "2030-01-01",
        "strips": [pictures(["dg4"])],
        "files": {"summary": "out/summary.json"},
    }
    return ReportContents(**{**values, **changes})


def offline_result(name, seed, right, ms, frames=60):
    """A model that is right in this share of the pixels and takes about so many milliseconds."""
    rng = np.random.default_rng(seed)
    boundary, calibration, flicker = BoundaryScore(4), Calibration(), TemporalConsistency()
    truth = np.repeat(np.arange(3, dtype=np.uint8), 40)[np.newaxis].repeat(20, axis=0)
    matrices, outcomes, previous = [], [], None
    for index in range(frames):
        wrong = rng.random(truth.shape) > right + 0.1 * np.sin(index / 9)
        labels = np.where(wrong, rng.integers(0, 3, truth.shape), truth).astype(np.uint8)
        flat = np.bincount(5 * truth.ravel() + labels.ravel(), minlength=20)
        matrices.append(flat.reshape(4, 5))
        boundary.update(labels, truth)
        calibration.update(labels, np.where(wrong, 140, 230).astype(np.uint8), truth)
        if previous is not None:
            flicker.update(previous, labels, truth, truth)
        previous = labels
        network = ms + rng.gamma(2.0, ms / 20)
        times = {"convert": 1.0, "network": network, "total": network + 1.0}
        stamp = FIRST_NS + index * PERIOD_NS
        outcomes.append(FrameOutcome(stamp, Fate.LABELLED, times, "bags/drive"))
    scores = FrameScores(
        NAMES,
        np.array(["bags/drive"] * frames),
        np.array([outcome.stamp_ns for outcome in outcomes]),
        np.array(matrices, np.int32),
        np.array([outcome.times_ms["total"] for outcome in outcomes]),
    )
    info = CheckpointInfo("dg4", 4, CLASSES, (360, 480))
    worst = [pictures([name], note="12.3 % mIoU")]
    return ModelResult(
        name, info, CLASSES, "onnxruntime", outcomes, scores, boundary, flicker, calibration,
        frames_per_s=900.0 / ms, network_frames_per_s=1000.0 / ms, would_drop=7, worst=worst,
    )  # fmt: skip


def offline_contents(models, **changes):
    names = [model.name for model in models]
    values = {
        "bags": ["bags/drive"],
        "image_topic": "/camera/image_raw",
        "image_size": (360, 480),
        "rate_hz": 10.0,
        "live": False,
        "models": models,
        "machine": {"processor": "two cores"},
        "created": "2030-01-01",
        "strips": [pictures(names)],
    }
    return ReportContents(**{**values, **changes})


@pytest.fixture(scope="module")
def two_models():
    return [offline_result("first", 1, 0.8, 40.0), offline_result("second", 2, 0.6, 15.0)]


def written(tmp_path, contents):
    write_report(tmp_path / "report.html", contents)
    return (tmp_path / "report.html").read_text()


# ---- the page of a live replay


def test_live_page_shows_the_numbers(tmp_path):
    page = Page(written(tmp_path, live_contents()))
    for shown in (
        "3 of 4", "58.3 %", "40 ms", "7.5 Hz", "two cores", "add up to 4",
        "1 frames with truth", "does not occur", "dropped for a newer frame",
    ):  # fmt: skip
        assert shown in page.text, shown
    assert any("66.7" in label and "50.0" in label for label in page.labels)
    assert any("Of 4 frames: 3 labelled, 1 dropped" in label for label in page.labels)
    assert page.alts == [
        "camera image at 0.00 s",
        "true classes at 0.00 s",
        "classes predicted by dg4 at 0.00 s",
    ]


@pytest.mark.parametrize("kind", ["live", "offline"])
def test_page_needs_no_network_and_escapes_names(tmp_path, two_models, kind):
    contents = live_contents() if kind == "live" else offline_contents(two_models)
    source = written(tmp_path, contents)
    page = Page(source)
    assert not {"script", "i", "link", "iframe"} & set(page.tags)
    assert "<script>alert(1)</script>" in "".join(page.texts)
    assert all(link.startswith("data:") for link in page.links)
    assert "http" not in source
    for tag in re.findall(r"<(?:svg|rect|circle|polyline|path|line|text)[^>]*>", source):
        assert "nan" not in tag
        assert "inf" not in tag


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"scores": None, "scores_note": "Not scored: <no> truth."}, "Not scored: <no> truth."),
        ({"partial": "Interrupted: this report is partial."}, "this report is partial"),
        ({"problems": ["broken.mcap was skipped: cut off"]}, "broken.mcap was skipped"),
        (
            {
                "frames": [FrameOutcome(FIRST_NS, Fate.MISSING)],
                "totals": FrameTotals(1, 0, lost_to_node=1),
                "scores": None,
            },
            "The node reported no times",
        ),
        ({"frames": [], "totals": FrameTotals(0, 0), "scores": None}, "No frame was played"),
        ({"models": []}, "No frame was played"),
    ],
    ids=["no truth", "interrupted", "broken bag", "nothing labelled", "nothing played", "nothing"],
)
def test_page_of_an_incomplete_run_says_so(tmp_path, changes, shown):
    assert shown in Page(written(tmp_path, live_contents(**changes))).text


def test_training_of_a_network_is_told_in_words(tmp_path):
    scores = {"images": 101, "miou": 0.633784, "iou": {"road": 0.9}, "confusion": [[1, 2]]}
    training = {
        "images": 1970,
        "epochs": 1,
        "cpu_minutes": 40.79,
        "final_loss": 0.457124,
        "curve": [1, 2],
    }
    info = CheckpointInfo(
        "dg4", 4, CLASSES, (360, 480), metrics={"val": scores, "training": training, "rows": [1]}
    )
    text = Page(written(tmp_path, live_contents(info=info))).text
    assert "val mIoU 63.38 % on 101 images (in its training's own validation)" in text
    assert "training 1970 images, 1 epoch, 40.8 cpu minutes, final loss 0.457" in text
    assert "[" not in text[text.index("Network") :]
    assert metric_in_words(0.5) == "0.5"


def test_live_page_names_the_model_of_each_account_of_frames(tmp_path):
    contents = live_contents()
    models = [replace(contents.models[0], name=name) for name in ("first", "second")]
    text = Page(written(tmp_path, replace(contents, models=models))).text
    frames = text[text.index(" Frames ") : text.index(" Accuracy ")]
    for name in ("first", "second"):
        assert f"{name} Every recorded frame ended" in frames
    assert "Minus first: on the frames that both models labelled" in text


# ---- the page of several models


def test_offline_page_compares_the_models(tmp_path, two_models):
    page = Page(written(tmp_path, offline_contents(two_models)))
    first, second = measures(two_models)
    for found in (first, second):
        scores = found.result.scores.confusion
        expected = confidence_intervals(scores).miou
        shown = f"{100 * expected.value:.1f} {100 * expected.low:.1f} to {100 * expected.high:.1f}"
        assert shown in page.text
        assert f"{found.latency_ms['total'].median:.1f}" in page.text
    change = paired_difference(first.result.scores.confusion, second.result.scores.confusion).miou
    assert f"{100 * change.value:+.1f} {100 * change.low:.1f} to".replace("-", "−") in page.text
    assert "minus first" in page.text
    assert "overtaken at the recorded 10 Hz" in page.text
    assert "labelled side by side" in page.text
    assert page.text.count("confidence accuracy share of the pixels") == 1  # titles of the axes
    described = " ".join(page.labels)
    for figure in (
        "Mean IoU against median milliseconds",
        "Intersection over union by class",
        "Mean IoU over the drive",
        "Accuracy against confidence",
        "a line for each model",
    ):
        assert figure in described, figure
    assert described.count("Confusion matrix") == 2
    assert described.count("Histogram of milliseconds") == 2
    assert page.alts.count("classes predicted by first at 0.00 s") == 2  # a strip and the worst
    assert "12.3 % mIoU" in page.text


def test_models_without_truth_are_compared_by_time_and_flicker(tmp_path, two_models):
    plain = [
        replace(model, scores=None, boundary=None, calibration=None, worst=())
        for model in two_models
    ]
    note = "Not scored: the bag has no truth."
    page = Page(written(tmp_path, offline_contents(plain, scores_note=note)))
    assert note in page.text
    assert "the drive itself changes some" in page.text
    assert "mIoU" not in page.text
    assert not any("Confusion" in label for label in page.labels)


def test_subtitle_tells_a_limit(tmp_path, two_models):
    assert "every frame from the recording" in written(tmp_path, offline_contents(two_models))
    page = written(tmp_path, offline_contents(two_models, limit=60, damaged="1 of 60 lost."))
    assert "the first 60 frames" in page
    assert "every frame" not in page
    assert "1 of 60 lost." in page


def test_a_reference_is_not_called_truth(tmp_path, two_models):
    contents = offline_contents(two_models, reference="first", truth="labels of first")
    page = Page(written(tmp_path, contents))
    said = page.text.replace("which are no truth", "")
    assert not re.search("truth|true", said)
    assert not any(alt.startswith("true") for alt in page.alts)
    for shown in (
        "Agreement with first",
        "Agreement: mIoU with the labels of first",
        "share of reference",
        "reference ↓",
    ):
        assert shown in page.text, shown
    assert "agrees %" in table_of(contents, measures(two_models))
    assert "mIoU %" in table_of(offline_contents(two_models), measures(two_models))


def test_page_stays_small_however_long_the_drive(tmp_path):
    long = offline_result("long", 3, 0.7, 20.0, frames=60)
    times = 200
    frames = [
        replace(frame, stamp_ns=FIRST_NS + i * PERIOD_NS)
        for i, frame in enumerate([*long.frames] * times)
    ]
    stamps = np.array([frame.stamp_ns for frame in frames])
    scores = FrameScores(
        NAMES,
        np.array(["bags/drive"] * len(frames)),
        stamps,
        np.tile(long.scores.confusion, (times, 1, 1)),
        np.zeros(len(frames)),
    )
    source = written(tmp_path, offline_contents([replace(long, frames=frames, scores=scores)]))
    assert len(frames) == 12000
    assert len(source) < 400_000


def test_summary_has_the_pages_numbers(two_models):
    first, second = measures(two_models)
    data = second.to_dict()
    assert data["scores"]["miou"]["value"] == pytest.approx(second.intervals.miou.value, abs=1e-6)
    assert data["scores"]["iou"]["pole"]["value"] is None
    assert data["difference_to_first"]["miou"]["high"] < 0
    assert first.to_dict()["difference_to_first"] is None
    assert data["frames_scored"] == 60
    assert data["confusion"] == second.confusion.tolist()
    assert 0 < data["calibration_error"] < 1
    assert data["flicker"] > first.to_dict()["flicker"]


# ---- figures


def test_bars_and_whiskers_are_where_the_numbers_say():
    intervals = [Interval(0.5, 0.4, 0.6), *[Interval(float("nan"), *[float("nan")] * 2)] * 3]
    svg = score_figures.class_bars(CLASSES, np.full(4, 0.25), [(Entry("model0", "dg4"), intervals)])
    left, width = map(
        float, re.search(r'fill-model0" x="([\d.]+)".*?width="([\d.]+)"', svg).groups()
    )
    low, high = map(float, re.search(r'whisker" d="M([\d.]+) .*?H([\d.]+)"', svg).groups())
    assert (high - low) / width == pytest.approx(0.4, abs=0.01)
    assert left + width == pytest.approx((low + high) / 2, abs=0.1)
    assert svg.count("does not occur") == 3
    assert "50.0  (40.0 to 60.0)" in svg


def test_heat_map_shades_by_share_of_the_truth():
    confusion = np.zeros((4, 5), np.int64)
    confusion[0] = [75, 25, 0, 0, 0]
    confusion[2] = [0, 0, 0, 0, 7]
    svg = score_figures.heat_map(CLASSES, confusion)
    assert "75.0 % of road taken for road" in svg
    assert "100.0 % of sky taken for void" in svg
    assert "25 % of road is taken for" in svg
    assert "pole" not in svg  # in neither truth nor prediction


def test_names_of_models_with_equal_scores_do_not_cover_each_other():
    ms = Distribution(20.0, 30.0, 40.0)
    models = [(Entry(f"model{i}", f"model {i}"), Interval(0.5, 0.4, 0.6), ms) for i in range(4)]
    svg = score_figures.accuracy_against_time(models)
    heights = sorted(float(y) for y in re.findall(r'y="([\d.-]+)">model \d<', svg))
    assert len(heights) == 4
    assert min(np.diff(heights)) >= 12


def test_lines_mark_what_is_missing_and_where_bags_begin():
    series = [Series("a", "a", np.arange(5.0), np.array([1.0, np.nan, 3.0, 2.0, 1.0]))]
    svg = lines_over_time(series, "ms", "words", missing=[1.0], breaks=[2.5])
    assert svg.count('class="missing"') == 1
    assert svg.count('class="break"') == 1
    assert svg.count("<circle") == 4


def test_no_line_bridges_a_long_gap():
    values = np.where(np.arange(40) % 20 < 3, 5.0, np.nan)
    svg = lines_over_time([Series("model0", "one", np.arange(40.0), values)], "ms", "words")
    assert svg.count("<polyline") == 2
    assert svg.count("<circle") == 6
    values[1] = np.nan  # a frame or two missing is no gap
    svg = lines_over_time([Series("model0", "one", np.arange(40.0), values)], "ms", "words")
    assert svg.count("<polyline") == 2


def test_thinning_keeps_the_extremes():
    rng = np.random.default_rng(0)
    values = rng.random(10_000)
    values[1234] = 50.0
    seconds, kept = thinned(np.arange(10_000.0), values, 300)
    assert len(kept) <= 600
    assert kept.max() == 50.0
    assert (np.diff(seconds) > 0).all()
    same = thinned(np.arange(9.0), values[:9], 300)
    assert (same[1] == values[:9]).all()


def test_seconds_go_on_from_bag_to_bag():
    stamps = [*(FIRST_NS + PERIOD_NS * i for i in range(3)), 5, 5 + PERIOD_NS]
    seconds, breaks = seconds_of(["a"] * 3 + ["b"] * 2, stamps)
    assert seconds == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert breaks == pytest.approx([0.3])
    assert window_frames(seconds) == 10
    assert window_frames(np.arange(9.0)) == 5
    assert window_frames(np.zeros(1)) == 5


# ---- pictures


def test_pictures_are_those_of_the_chosen_and_of_the_worst_frames():
    collector = StripCollector("dg4", CLASSES, [FIRST_NS], apart=2)
    image = np.full((60, 80, 3), 90, np.uint8)
    for index, miou in enumerate((0.9, 0.4, 0.3, 0.8)):
        labels = np.full((60, 80), index % 3, np.uint8)
        collector.add(MatchedFrame(FIRST_NS + index, image, labels, None), miou)
    (strip,) = collector.strips
    assert (strip.stamp_ns, strip.truth) == (FIRST_NS, "")
    assert collector.worst()[0].note == "30.0 % mIoU"
    kind, data = strip.predictions["dg4"].split(";base64,")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert kind == "data:image/jpeg"
    expected = 0.65 * np.array(CLASSES.colors[0])[::-1] + 0.35 * 90
    assert np.abs(picture.astype(float) - expected).max() < 8


def test_truth_that_is_no_label_image_is_not_drawn():
    collector = StripCollector("dg4", CLASSES, [FIRST_NS], apart=1)
    image = np.full((60, 80, 3), 90, np.uint8)
    collector.add(MatchedFrame(FIRST_NS, image, None, image), float("nan"))
    assert collector.strips[0].truth == ""
    assert collector.strips[0].predictions == {"dg4": ""}
    assert collector.worst() == []
