"""`erf_seg bag evaluate`: the right numbers from every kind of bag, whatever goes wrong."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from evaluated_bags import (
    CAMERA,
    FRAME_ID,
    SIZE,
    TRUTH,
    broken_image,
    labelled_frames,
    save_network,
    stamp_of,
    truth_of,
    write_drive,
)
from inference_helpers import images, info_for, random_network

from erf_seg_cli.main import main
from erf_seg_core import load_segmenter
from erf_seg_core.bags import BagReader, BagWriter
from erf_seg_core.bags.messages import IMAGE, typestore
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import EngineError, ErfSegError
from erf_seg_core.evaluation.frame_scores import FrameScores
from erf_seg_core.evaluation.scoring import score
from erf_seg_core.inference import Segmentation, Segmenter
from erf_seg_core.output_lock import output_lock
from erf_seg_core.replay_evaluation.bag_evaluation import (
    ROUND,
    TIMED_EVERY,
    _Labeller,
    evaluate_bag,
)
from erf_seg_core.replay_evaluation.bag_task import BagTask
from erf_seg_core.replay_evaluation.evaluation import Parallel, evaluate_bags
from erf_seg_core.replay_evaluation.newest_first import would_be_dropped
from erf_seg_core.replay_evaluation.options import EvaluationOptions, model_folders
from erf_seg_core.replay_evaluation.read_ahead import ReadAhead
from erf_seg_core.replay_evaluation.recorded_frames import RecordedFrame

ROOT = Path(__file__).resolve().parent.parent
CAMVID = load_class_set("camvid11")
FRAMES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def network(folder):
    return save_network(folder / "small.safetensors")


@pytest.fixture(scope="module")
def other_network(folder):
    return save_network(folder / "other.safetensors", seed=5)


@pytest.fixture(scope="module")
def drive(folder):
    return write_drive(folder / "drive", FRAMES)


def evaluate(*arguments, network, output):
    fixed = ["--models", str(network), "--output", str(output), "--threads", "1"]
    return main(["bag", "evaluate", *fixed, *map(str, arguments)])


def scores_of(output, model="small"):
    return FrameScores.load(output / model / "confusion.npz")


def rows_of(output):
    with (output / "frames.csv").open() as file:
        return list(csv.DictReader(file))


def summary_of(output):
    return json.loads((output / "summary.json").read_text())


class Silent:
    """A listener that remembers problems; `on_progress` may interfere."""

    def __init__(self, on_progress=lambda frames: None):
        self.problems, self.kept, self.progress = [], None, on_progress

    def begin(self, frames, kept_bags):
        self.kept = kept_bags

    def problem(self, what):
        self.problems.append(what)


def expected_confusion(network, bag):
    """What `erf_seg evaluate` counts: the same segmenter on the same pictures."""
    segmenter = load_segmenter(network, threads=1)

    def predict(image, size):
        return segmenter(image, confidence=False, label_size=size).labels

    return score(labelled_frames(bag), predict, CAMVID).confusion


# The numbers


def test_scores_are_those_of_evaluate(network, drive, tmp_path, capsys):
    assert evaluate(drive, "--json", network=network, output=tmp_path) == 0
    summary = json.loads(capsys.readouterr().out)
    expected = expected_confusion(network, drive)
    assert expected.mean_iou() > 0.01
    assert np.array_equal(scores_of(tmp_path).confusion.sum(axis=0), expected.matrix)
    assert summary["models"]["small"]["scores"]["miou"]["value"] == pytest.approx(
        expected.mean_iou(), abs=1e-6
    )
    assert summary == summary_of(tmp_path)
    assert summary["partial"] == "" == summary["scores_note"]


def test_scores_on_camvid_are_those_of_evaluate(data_dir, tmp_path):
    """Real frames and truth with shipped weights, through a bag made of them."""
    bag, frames = tmp_path / "val", 24
    made = ["bag", "make", str(data_dir / "camvid/val"), "--limit", str(frames)]
    assert main([*made, "--output", str(bag)]) == 0
    assert evaluate(bag, "--annotate", "none", network="dg4_star_light", output=tmp_path) == 0
    expected = expected_confusion("dg4_star_light", bag)
    found = summary_of(tmp_path)["models"]["dg4_star_light"]
    assert found["frames_scored"] == frames
    assert found["scores"]["miou"]["value"] == pytest.approx(expected.mean_iou(), abs=1e-6)
    assert expected.mean_iou() > 0.3


def test_truth_of_another_size_is_scored_at_its_own(network, folder, tmp_path):
    bag = write_drive(folder / "half", truth=lambda picture: truth_of(picture)[::2, ::2])
    assert evaluate(bag, network=network, output=tmp_path) == 0
    expected = expected_confusion(network, bag)
    assert np.array_equal(scores_of(tmp_path).confusion.sum(axis=0), expected.matrix)


def test_every_run_gives_the_same(network, drive, tmp_path):
    for name in ("a", "b"):
        assert evaluate(drive, network=network, output=tmp_path / name) == 0
    first, second = scores_of(tmp_path / "a"), scores_of(tmp_path / "b")
    assert np.array_equal(first.confusion, second.confusion)
    assert np.array_equal(first.stamps_ns, second.stamps_ns)
    a, b = (summary_of(tmp_path / name)["models"]["small"] for name in ("a", "b"))
    for name in ("scores", "flicker", "calibration_error", "boundary_f"):
        assert a[name] == b[name], name
    assert a["flicker"] > 0
    assert 0 < a["calibration_error"] < 1


# The result folder


@pytest.fixture(scope="module")
def result(folder, network, other_network, drive):
    """Two models, everything annotated."""
    output = folder / "result"
    models = f"{network},{other_network}"
    annotate = ["--annotate", "labels", "confidence", "overlay", "timing", "image"]
    assert evaluate(drive, *annotate, network=models, output=output) == 0
    return output


def test_one_row_for_every_frame_and_model(result):
    rows = rows_of(result)
    assert len(rows) == 2 * FRAMES
    assert {row["model"] for row in rows} == {"small", "other"}
    assert [int(r["stamp_ns"]) for r in rows[:FRAMES]] == [stamp_of(i) for i in range(FRAMES)]
    for row in rows:
        stages = [float(row[f"{s}_ms"]) for s in ("convert", "preprocess", "network")]
        assert 0 < sum(stages) <= float(row["total_ms"]) + 0.01
        assert 0 <= float(row["miou"]) <= 1
    assert rows[0]["flicker"] == ""  # nothing before it
    assert float(rows[1]["flicker"]) >= 0


def test_scores_per_frame_are_named_by_bag_and_stamp(result):
    scores = scores_of(result)
    assert scores.class_names == CAMVID.names
    assert set(scores.bag) == {"drive"}
    assert scores.stamps_ns.tolist() == [stamp_of(i) for i in range(FRAMES)]
    assert scores.confusion.dtype == np.int32
    assert (scores.latency_ms > 0).all()


def test_models_are_told_apart(result):
    assert not np.array_equal(scores_of(result).confusion, scores_of(result, "other").confusion)
    summary = summary_of(result)
    assert list(summary["models"]) == ["small", "other"]
    assert summary["models"]["other"]["difference_to_first"] is not None
    assert "<html" in (result / "report.html").read_text()


def test_rate_stands_beside_that_of_the_network_alone(result):
    for model in summary_of(result)["models"].values():
        reached, alone = model["frames_per_s"], model["network_frames_per_s"]
        assert reached > 0 < alone
        assert model["throughput_ratio"] == pytest.approx(reached / alone, abs=1e-5)
    assert "network alone" in (result / "report.html").read_text()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_reading_ahead_gives_every_item_in_order_in_one_thread(count):
    threads = set()

    def items():
        for item in range(count):
            threads.add(threading.get_ident())
            yield item

    with ReadAhead(items, 3) as reader:
        rounds = []
        for items_read in reader:
            rounds.append(items_read)
            reader.begin()
            reader.begin()  # twice is once
    assert [len(some) for some in rounds] == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
    assert [item for some in rounds for item in some] == list(range(count))
    assert threads.isdisjoint({threading.get_ident()}) and len(threads) <= 1


def test_reading_ahead_gives_what_came_before_an_error():
    def items():
        yield from range(4)
        raise ErfSegError("torn")

    seen = []
    with pytest.raises(ErfSegError, match="torn"), ReadAhead(items, 3) as reader:
        for items_read in reader:
            seen += items_read
    assert seen == [0, 1, 2, 3]


def test_network_alone_is_timed_without_the_rest_whatever_the_drive(network, tmp_path):
    for frames in (1, ROUND, ROUND + 1):
        output = tmp_path / f"out{frames}"
        bag = write_drive(tmp_path / f"bag{frames}", frames)
        assert evaluate(bag, network=network, output=output) == 0
        assert len(scores_of(output)) == frames
        times = [float(row["total_ms"]) - float(row["convert_ms"]) for row in rows_of(output)]
        alone = summary_of(output)["models"]["small"]["network_frames_per_s"]
        assert 1000 / alone == pytest.approx(np.median(times), abs=0.01)


def test_side_by_side_labels_and_scores_likewise_and_times_some_rounds(network, tmp_path):
    frames = TIMED_EVERY * ROUND + 2
    bag = write_drive(tmp_path / "bag", frames)
    for threads in ("1", "2"):  # with one there is no side by side
        fixed = ["--models", str(network), "--output", str(tmp_path / threads)]
        assert main(["bag", "evaluate", str(bag), *fixed, "--threads", threads]) == 0
    alone, beside = scores_of(tmp_path / "1"), scores_of(tmp_path / "2")
    assert np.array_equal(alone.confusion, beside.confusion)
    assert np.isfinite(alone.latency_ms).all()
    timed = [index for index in range(frames) if index // ROUND % TIMED_EVERY == 0]
    assert np.flatnonzero(np.isfinite(beside.latency_ms)).tolist() == timed
    first, second = (summary_of(tmp_path / threads)["models"]["small"] for threads in ("1", "2"))
    for name in ("scores", "boundary_f", "flicker", "calibration_error", "confusion"):
        assert first[name] == second[name]
    assert all(second[name] > 0 for name in ("frames_per_s", "throughput_ratio"))
    with BagReader(tmp_path / "2" / "small" / "annotated") as annotated:
        said = [
            typestore().deserialize_cdr(m.raw, m.msgtype).status[0].message
            for m in annotated.messages(["/segmentation/timing"])
        ]
    assert [i for i, message in enumerate(said) if message.endswith(" ms")] == timed
    words = f"Timed: {len(timed)} of {frames} frames of small"
    assert words in (tmp_path / "2" / "report.html").read_text(encoding="utf-8")
    assert "Timed:" not in (tmp_path / "1" / "report.html").read_text(encoding="utf-8")


def test_annotated_bag_holds_what_the_model_said(result, drive, network):
    segmenter = load_segmenter(network, threads=1)
    with BagReader(result / "small" / "annotated") as bag:
        types = {t.name: (t.msgtype.rpartition("/")[2], t.count) for t in bag.topics}
        labels = list(bag.images("/segmentation/label"))
        confidences = list(bag.images("/segmentation/confidence"))
        overlays = list(bag.images("/segmentation/overlay/compressed"))
        originals = list(bag.images(CAMERA))
        (timing, *_) = bag.messages(["/segmentation/timing"])
    assert types == {
        CAMERA: ("Image", FRAMES),
        "/segmentation/label": ("Image", FRAMES),
        "/segmentation/confidence": ("Image", FRAMES),
        "/segmentation/overlay/compressed": ("CompressedImage", FRAMES),
        "/segmentation/timing": ("DiagnosticArray", FRAMES),
    }
    for index, (picture, _) in enumerate(labelled_frames(drive)):
        expected = segmenter(picture)
        for stamp_ns, frame_id, _ in (labels[index], confidences[index], overlays[index]):
            assert (stamp_ns, frame_id) == (stamp_of(index), FRAME_ID)
        assert np.array_equal(labels[index][2], expected.labels)
        assert np.array_equal(confidences[index][2], expected.confidence)
        assert np.array_equal(originals[index][2], picture)
        assert overlays[index][2].shape == picture.shape
    content = typestore().deserialize_cdr(timing.raw, timing.msgtype)
    assert {v.key for v in content.status[0].values} >= {"network_ms", "total_ms", "model"}


def test_annotated_bag_explains_itself_to_foxglove(result):
    """Its own reader decodes every message by the definitions that the file brings along."""
    reason = "needs mcap-ros2-support, see requirements/dev.txt"
    decoder = pytest.importorskip("mcap_ros2.decoder", reason=reason)
    mcap = pytest.importorskip("mcap.reader", reason=reason)
    (file,) = (result / "small" / "annotated").glob("*.mcap")
    with file.open("rb") as stream:
        factories = [decoder.DecoderFactory()]
        reader = mcap.make_reader(stream, validate_crcs=True, decoder_factories=factories)
        assert reader.get_header().profile == "ros2"
        decoded = [(c.topic, m.log_time, d) for _, c, m, d in reader.iter_decoded_messages()]
    assert len(decoded) == 5 * FRAMES
    for _, time_ns, content in decoded:
        stamp = content.header.stamp
        assert (time_ns, content.header.frame_id) == (
            stamp.sec * 1_000_000_000 + stamp.nanosec,
            FRAME_ID,
        )
    label = next(d for topic, _, d in decoded if topic == "/segmentation/label")
    assert (label.encoding, label.step, len(label.data)) == ("mono8", SIZE[1], SIZE[0] * SIZE[1])


def test_nothing_is_annotated_if_nothing_is_wanted(network, drive, tmp_path):
    assert evaluate(drive, "--annotate", "none", network=network, output=tmp_path) == 0
    assert not (tmp_path / "small" / "annotated").exists()


def test_folders_of_models_are_distinct(network, folder):
    (folder / "more").mkdir()
    copy = Path(shutil.copy(network, folder / "more" / "small.safetensors"))
    models = ["dg4", "DG4", str(network), str(copy), str(network)]
    assert list(model_folders(models).values()) == ["dg4", "dg4-2", "small", "small-2"]


# Every kind of bag


def compressed_copy(bag, path):
    """The same messages, each packed, in MCAP, as `ros2 bag record --compression-mode message`."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer, BagReader(bag) as reader:
        topics = {
            t.name: writer.add_connection(t.name, t.msgtype, typestore=typestore())
            for t in reader.topics
        }
        for message in reader.messages():
            writer.write(topics[message.topic], message.time_ns, message.raw)
    return path


def ros1_copy(bag, path):
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    with Writer(path) as writer, BagReader(bag) as reader:
        for topic in (CAMERA, TRUTH):
            connection = writer.add_connection(topic, IMAGE, typestore=store)
            for index, (stamp_ns, frame_id, picture) in enumerate(reader.images(topic)):
                stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
                header = types["std_msgs/msg/Header"](index, stamp, frame_id)
                step = picture.size // SIZE[0]
                encoding = "bgr8" if picture.ndim == 3 else "mono8"
                data = picture.reshape(-1)
                image = types[IMAGE](header, *SIZE, encoding, 0, step, data)
                writer.write(connection, stamp_ns, store.serialize_ros1(image, IMAGE))
    return path


@pytest.mark.parametrize("kind", ["mcap", "png", "packed", "ros1"])
def test_every_kind_of_bag_gives_the_same(network, drive, tmp_path, kind):
    bag = {
        "mcap": lambda: write_drive(tmp_path / "b", storage="mcap"),
        "png": lambda: write_drive(tmp_path / "b", png=True),
        "packed": lambda: compressed_copy(drive, tmp_path / "b"),
        "ros1": lambda: ros1_copy(drive, tmp_path / "b.bag"),
    }[kind]()
    assert evaluate(bag, network=network, output=tmp_path / "out") == 0
    expected = expected_confusion(network, drive)
    assert np.array_equal(scores_of(tmp_path / "out").confusion.sum(axis=0), expected.matrix)


def test_limit(network, drive, tmp_path):
    assert evaluate(drive, "--limit", 5, network=network, output=tmp_path) == 0
    assert len(scores_of(tmp_path)) == 5


def test_damaged_images_are_counted_and_passed_over(network, tmp_path):
    with BagWriter(tmp_path / "b") as bag:
        for index, picture in enumerate(images(4, SIZE)):
            if index == 1:
                bag.write_cdr(CAMERA, IMAGE, stamp_of(1), broken_image(stamp_of(1)))
            else:
                bag.write_image(CAMERA, stamp_of(index), FRAME_ID, picture, "bgr8")
    assert evaluate(tmp_path / "b", network=network, output=tmp_path / "out") == 0
    (bag,) = summary_of(tmp_path / "out")["bags"]
    assert (bag["frames_recorded"], bag["frames_read"], bag["frames_damaged"]) == (4, 4, 1)
    assert len(scores_of(tmp_path / "out")) == 3


# Where the truth comes from


def write_label_pngs(folder, bag, name=str):
    folder.mkdir(parents=True)
    with BagReader(bag) as reader:
        for stamp_ns, _, labels in reader.images(TRUTH):
            cv2.imwrite(str(folder / f"{name(stamp_ns)}.png"), labels)
    return folder


def seconds_and_nanoseconds(stamp_ns):
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"


@pytest.mark.parametrize("name", [str, seconds_and_nanoseconds], ids=["ns", "s.ns"])
def test_truth_from_a_folder(network, drive, tmp_path, name):
    blind = write_drive(tmp_path / "blind", truth=None)
    truth = write_label_pngs(tmp_path / "labels" / "blind", drive, name).parent
    assert evaluate(blind, "--truth", truth, network=network, output=tmp_path / "out") == 0
    expected = expected_confusion(network, drive)
    assert np.array_equal(scores_of(tmp_path / "out").confusion.sum(axis=0), expected.matrix)


def test_results_need_a_folder_with_a_name(network, drive, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        evaluate(drive, network=network, output="")
    assert "the name is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_reference_model_instead_of_truth(network, other_network, drive, tmp_path):
    arguments = [drive, "--reference", other_network, "--limit", 4]
    both = f"{network},{other_network}"
    assert evaluate(*arguments, network=both, output=tmp_path) == 0
    summary = summary_of(tmp_path)
    assert "reference model" in summary["truth"]
    assert summary["models"]["other"]["scores"]["miou"]["value"] == 1.0
    labels = [load_segmenter(m, threads=1) for m in (network, other_network)]
    pictures = [picture for picture, _ in labelled_frames(drive)[:4]]
    ours, theirs = ([s(picture).labels for picture in pictures] for s in labels)
    agreement = np.mean([np.mean(a == b) for a, b in zip(ours, theirs, strict=True)])
    accuracy = summary["models"]["small"]["scores"]["accuracy"]["value"]
    assert accuracy == pytest.approx(agreement, abs=1e-6)


def test_without_truth_there_are_times_but_no_scores(network, tmp_path):
    blind = write_drive(tmp_path / "blind", truth=None)
    assert evaluate(blind, network=network, output=tmp_path / "out") == 0
    summary = summary_of(tmp_path / "out")
    assert summary["models"]["small"]["scores"] is None
    assert "no truth on /ground_truth/label" in summary["scores_note"]
    assert summary["models"]["small"]["latency_ms"]["total"]["median"] > 0


def test_classes_that_do_not_fit_are_not_scored(folder, drive, tmp_path):
    net = random_network("dg4_star_light", 20, 0)
    from erf_seg_core.checkpoint import save_checkpoint

    path = save_checkpoint(tmp_path / "c.safetensors", net, info_for(net, input_size=SIZE))
    assert evaluate(drive, network=path, output=tmp_path / "out") == 0
    note = summary_of(tmp_path / "out")["scores_note"]
    assert "cityscapes19" in note
    assert "camvid11" in note


# Speed as a camera would see it


def test_newest_first_at_the_recorded_rate():
    stamps = np.arange(8) * 100_000_000
    busy = np.full(8, 250.0)
    # taken at 0, 250 (frame 2), 500 (frame 5), 750 (frame 7)
    assert np.flatnonzero(would_be_dropped(stamps, busy)).tolist() == [1, 3, 4, 6]
    assert not would_be_dropped(stamps, np.full(8, 99.0)).any()
    assert not would_be_dropped(stamps[:0], busy[:0]).any()


def test_a_slow_frame_costs_those_that_come_meanwhile():
    stamps = np.arange(6) * 100_000_000
    latency = np.array([50.0, 320.0, 50.0, 50.0, 50.0, 50.0])
    assert np.flatnonzero(would_be_dropped(stamps, latency)).tolist() == [2, 3]
    latency[[0, 2, 3]] = np.nan  # then 320, 230 and 140 ms are assumed
    assert np.flatnonzero(would_be_dropped(stamps, latency)).tolist() == [1, 2]
    assert not would_be_dropped(stamps, np.full(6, np.nan)).any()


def test_what_ran_beside_other_work_is_not_timed():
    frame = RecordedFrame(0, 0, "", images(1, SIZE)[0], None, 1.0, None)
    for timed in (True, False):
        ((labelled),) = _Labeller({"m": Copying()}, None, {})([frame], timed)
        times = labelled.times_ms["m"]
        assert np.isfinite([times["network"], times["total"]]).tolist() == [timed] * 2


def test_an_engine_that_breaks_costs_no_other_bag(network, tmp_path, monkeypatch):
    bags = [write_drive(tmp_path / name, 20, seed=seed) for seed, name in enumerate("ab")]
    label, calls = Segmenter.batch, count()

    def breaks_once(*arguments, **options):
        if next(calls) == 12:
            raise EngineError("the GPU is out of memory")
        return label(*arguments, **options)

    monkeypatch.setattr(Segmenter, "batch", breaks_once)
    fixed = ["--models", str(network), "--threads", "1", "--workers", "1"]
    output = ["--output", str(tmp_path / "out")]
    assert main(["bag", "evaluate", *map(str, bags), *fixed, *output]) == 1
    assert "out of memory" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    bags_of_rows = [row["bag"] for row in rows_of(tmp_path / "out")]
    assert 0 < bags_of_rows.count("a") < 20
    assert bags_of_rows.count("b") == 20


def test_a_speed_without_live_is_refused(network, drive, tmp_path, capsys):
    assert evaluate(drive, "--rate", "2", network=network, output=tmp_path / "out") == 2
    assert "add --live" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# Long drives


class Copying:
    """A predictor of no cost: the red channel's upper bits are the labels."""

    info, class_set, engine, device, side_by_side = None, CAMVID, "none", "cpu", 1

    def __call__(self, frame, size):
        labels = frame.image_bgr[..., 2] // 25
        result = Segmentation(labels, np.full(size, 200, np.uint8))
        return result, {"network": 1.0, "total": 1.0}


class SlowCopying(Copying):
    def __call__(self, frame, size):
        time.sleep(1.0)
        return super().__call__(frame, size)


def test_a_reference_costs_the_models_no_time(tmp_path, network):
    task = BagTask(
        write_drive(tmp_path / "drive", 4), "drive", EvaluationOptions((str(network),)), {}
    )
    result = evaluate_bag(task, {"a": Copying()}, reference=SlowCopying())
    assert len(result.models["a"].table) == 4
    assert result.seconds < 4


def test_memory_does_not_grow_with_the_drive(tmp_path, network):
    frames, size = 10_000, (16, 64)
    pictures = images(10, size)
    with BagWriter(tmp_path / "long") as bag:
        for index in range(frames):
            picture = pictures[index % 10]
            bag.write_image(CAMERA, stamp_of(index), FRAME_ID, picture, "bgr8")
            bag.write_image(TRUTH, stamp_of(index), FRAME_ID, truth_of(picture), "mono8")
    task = BagTask(tmp_path / "long", "long", EvaluationOptions((str(network),)), {})
    process, memory = psutil.Process(), {}

    def on_frame(done):
        if done in (2000, frames):
            memory[done] = process.memory_info().rss

    result = evaluate_bag(task, {"small": Copying()}, on_frame=on_frame)
    assert result.complete
    table = result.models["small"].table
    assert len(table) == frames
    rows = sum(values.nbytes for values in table.to_arrays().values())
    # The pictures are 31 MB; beside the rows there is only what Python's allocator wastes.
    assert memory[frames] - memory[2000] < rows + 8_000_000


# What can go wrong


def cut(path, share=0.6):
    (file,) = [f for f in path.iterdir() if f.suffix in (".db3", ".mcap")]
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    return path


def no_images(path):
    with BagWriter(path) as bag:
        types = typestore().types
        raw = typestore().serialize_cdr(types["std_msgs/msg/String"](data="hello"),
                                        "std_msgs/msg/String")  # fmt: skip
        bag.write_cdr("/chatter", "std_msgs/msg/String", 1, raw)
    return path


def two_cameras(path):
    with BagWriter(path) as bag:
        for topic in ("/front/image", "/rear/image"):
            bag.write_image(topic, 1, topic[1:5], images(1, SIZE)[0], "bgr8")
    return path


@pytest.mark.parametrize(
    ("make", "arguments", "reason"),
    [
        (no_images, [], "has no images; topics with images: none"),
        (two_cameras, [], "several image topics, choose one: /front/image, /rear/image"),
        (write_drive, ["--image-topic", "/rear"], f"no images on /rear.*{CAMERA}"),
        (write_drive, ["--truth", "/gt"], f"no label images on /gt.*no folder.*{CAMERA}"),
        (lambda p: cut(write_drive(p, storage="mcap")), [], "truncated or damaged.*mcap recover"),
        (lambda p: cut(write_drive(p), 0.1), [], r"truncated or damaged.*sqlite3 FILE \.recover"),
        (lambda p: write_drive(p, truth=lambda i: truth_of(i)[:30]), [], r"64×30.*proportions"),
        (lambda p: write_drive(p, truth=lambda i: truth_of(i) + 8), [], "holds id .* 11 classes"),
        (lambda p: p / "absent", [], "there is no bag"),
        (write_drive, ["--limit", "0"], "leaves nothing"),
        (write_drive, ["--truth-classes", "mars"], "no class set 'mars'"),
        (write_drive, ["--workers", "0"], "0 workers"),
        (write_drive, ["--threads", "0"], "0 threads"),
        (lambda p: write_drive(p.with_name(os.fsdecode(b"\xff"))), [], r"\\xff is not UTF-8"),
        (lambda p: "", [], "empty name"),
    ],
    ids=["no images", "two cameras", "no such topic", "no such truth", "cut mcap", "cut sqlite",
         "truth of another size", "ids of other classes", "absent", "limit", "classes", "workers",
         "threads", "no UTF-8", "empty name"],
)  # fmt: skip
def test_bad_input_is_one_sentence(make, arguments, reason, network, tmp_path, capsys):
    import re

    bag = make(tmp_path / "b")
    assert evaluate(bag, *arguments, network=network, output=tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("erf_seg: error: ")
    assert re.search(reason, error), error


def test_an_output_that_cannot_be_used_is_said_before_the_work(network, drive, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert evaluate(drive, network=network, output=tmp_path / "file") == 2
    assert "file is a file" in capsys.readouterr().err
    (tmp_path / "report.html").mkdir()
    assert evaluate(drive, network=network, output=tmp_path) == 2
    assert "report.html is a folder" in capsys.readouterr().err
    with output_lock(tmp_path / "out"):
        assert evaluate(drive, network=network, output=tmp_path / "out") == 2
    assert f"another run is writing to {tmp_path / 'out'}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "parts").exists()


def test_folder_of_labels_without_stamps_and_without_matches(network, drive, tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    arguments = [drive, "--truth", tmp_path / "labels"]
    cv2.imwrite(str(tmp_path / "labels" / "frame_7.png"), np.zeros(SIZE, np.uint8))
    assert evaluate(*arguments, network=network, output=tmp_path / "out") == 2
    assert "named after stamps" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "labels" / "1600000000000000000.png"), np.zeros(SIZE, np.uint8))
    assert evaluate(*arguments, network=network, output=tmp_path / "out") == 1
    assert "exact stamp" in summary_of(tmp_path / "out")["problems"][0]


def test_what_was_scored_before_bad_truth_is_kept(network, tmp_path, capsys):
    def truth(picture):
        truth.calls += 1
        return truth_of(picture) + (100 if truth.calls == 8 else 0)

    truth.calls = 0
    bag = write_drive(tmp_path / "b", truth=truth)
    assert evaluate(bag, network=network, output=tmp_path / "out") == 1
    assert len(scores_of(tmp_path / "out")) == 7
    (problem,) = summary_of(tmp_path / "out")["problems"]
    assert f"frame 7 (stamp {stamp_of(7)})" in problem
    assert problem in capsys.readouterr().err


def test_bag_that_breaks_off_counts_until_there(network, tmp_path):
    """A later chunk is damaged: what comes before it is read."""
    bag = tmp_path / "b"
    with BagWriter(bag, "mcap", compress=True) as writer:
        for index, picture in enumerate(images(200, SIZE)):
            writer.write_image(CAMERA, stamp_of(index), FRAME_ID, picture, "bgr8")
    content = bytearray((bag / "b.mcap").read_bytes())
    middle = int(0.7 * len(content))
    content[middle : middle + 5000] = bytes([0xFF]) * 5000
    (bag / "b.mcap").write_bytes(content)
    assert evaluate(bag, "--annotate", "none", network=network, output=tmp_path / "out") == 1
    assert 50 < len(scores_of(tmp_path / "out")) < 190
    assert "damaged" in summary_of(tmp_path / "out")["problems"][0]


def test_ctrl_c_keeps_what_was_scored_and_the_next_run_completes_it(network, drive, tmp_path):
    def interrupt(frames):
        if frames == 5:
            raise KeyboardInterrupt

    options = EvaluationOptions((str(network),), threads=1)
    done = evaluate_bags([drive], options, tmp_path, Parallel(), Silent(interrupt))
    assert done.interrupted
    assert len(scores_of(tmp_path)) == 5
    assert summary_of(tmp_path)["partial"] == f"Interrupted after 5 of {FRAMES} frames."
    with BagReader(tmp_path / "small" / "annotated") as bag:
        assert len(list(bag.images("/segmentation/label"))) == 5

    again = Silent()
    done = evaluate_bags([drive], options, tmp_path, Parallel(), again)
    assert (done.interrupted, done.complete, again.kept) == (False, True, 0)
    assert len(scores_of(tmp_path)) == FRAMES

    third = Silent()
    evaluate_bags([drive], options, tmp_path, Parallel(), third)
    assert third.kept == 1


def test_ctrl_c_before_the_first_frame_leaves_no_report(network, drive, tmp_path):
    def interrupt(frames):
        raise KeyboardInterrupt

    options = EvaluationOptions((str(network),))
    with pytest.raises(KeyboardInterrupt):
        evaluate_bags([drive], options, tmp_path, Parallel(), _InterruptedAtOnce())
    assert not (tmp_path / "report.html").exists()


class _InterruptedAtOnce(Silent):
    def begin(self, frames, kept_bags):
        raise KeyboardInterrupt


FULL_DISK = """
import resource, sys
from erf_seg_cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("limit", "status", "reason"),
    [(2_500_000, 1, "the disk refused the annotated bag"), (1000, 2, "the disk refused")],
    ids=["annotated bag", "everything"],
)
def test_full_disk_is_said(network, tmp_path, limit, status, reason):
    """A file size limit makes writes fail half-way, as a full disk does."""
    rng = np.random.default_rng(0)
    with BagWriter(tmp_path / "b") as bag:
        for index in range(60):  # noise, which no compression makes smaller: 4.6 MB
            noise = rng.integers(0, 256, (160, 160, 3), np.uint8)
            bag.write_image(CAMERA, stamp_of(index), FRAME_ID, noise, "bgr8")
    arguments = ["bag", "evaluate", bag.path, "--models", network, "--output", tmp_path / "out"]
    arguments += ["--annotate", "image", "labels", "--engine", "torch", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(limit), *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert 1 < len(scores_of(tmp_path / "out")) < 60
        with BagReader(tmp_path / "out" / "small" / "annotated") as annotated:
            assert list(annotated.images(CAMERA))


def test_unknown_options_of_an_evaluation_are_refused(network):
    with pytest.raises(ErfSegError, match="no model to evaluate"):
        EvaluationOptions(())
    with pytest.raises(ErfSegError, match="not both"):
        EvaluationOptions((str(network),), truth="/a", reference=str(network))
    with pytest.raises(ErfSegError, match="dg44"):
        EvaluationOptions(("dg44",))
