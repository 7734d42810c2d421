"""A bag through the running node, processes and DDS as on a robot; what comes back adds up."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from node_under_test import make_checkpoint, make_picture
from replay_bags import CAMERA, FIRST_NS, FRAME_ID, HEIGHT, INFO, PERIOD_NS, TRUTH, WIDTH, make_bag

import erf_seg_ros
from erf_seg_cli.main import main
from erf_seg_core import load_segmenter
from erf_seg_core.bags import BagReader
from erf_seg_core.bags.topics import choose_image_topic
from erf_seg_core.errors import ErfSegError
from erf_seg_core.evaluation.metrics import ConfusionMatrix
from erf_seg_core.output_lock import output_lock
from erf_seg_core.report.frames import FrameTotals
from erf_seg_ros.demo import DriveOptions, rendered_drive
from erf_seg_ros.replay.domain import private_domain
from erf_seg_ros.replay.live_options import (
    CONFIDENCE_TOPIC,
    LABEL_TOPIC,
    LiveOptions,
    LivePlan,
    sibling_camera_info,
)
from erf_seg_ros.replay.live_progress import LiveProgress
from erf_seg_ros.replay.live_results import totals
from erf_seg_ros.replay.live_run import run_live

FRAMES = 30
BAD_FRAME = 7
PATIENCE_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return make_checkpoint(folder / "small.safetensors")


@pytest.fixture(scope="module")
def bag(folder):
    def truth(picture):
        return picture[..., 0] // 24  # ids 0 to 10

    return make_bag(folder / "drive", FRAMES, truth, bad_frame=BAD_FRAME)


def start_replay(command, checkpoint, output):
    """`erf_seg <command>` in a process of its own; stdout is the summary."""
    root = str(Path(erf_seg_ros.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    options = ["--json", "--engine", "torch", "--model", str(checkpoint), "--output", str(output)]
    return subprocess.Popen(
        [sys.executable, "-m", "erf_seg_cli.main", *map(str, command), *options],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def live(folder, bag, checkpoint):
    """Output folder and summary of one whole run."""
    output = folder / "out"
    process = start_replay(["demo", "--bag", bag], checkpoint, output)
    stdout, stderr = process.communicate(timeout=150)
    assert process.returncode == 0, stderr
    return output, json.loads(stdout)


def labels_of(output):
    with BagReader(output / "labels") as reader:
        return [(stamp, frame_id, array.copy()) for stamp, frame_id, array in
                reader.images(LABEL_TOPIC)]  # fmt: skip


def images_of(bag, topic):
    with BagReader(bag) as reader:
        return {stamp: array.copy() for stamp, _, array in reader.images(topic)}


def sum_of_fates(frames):
    return sum(count for name, count in frames.items() if name != "recorded")


def test_every_frame_is_accounted_for(live):
    _, summary = live
    frames = summary["frames"]
    assert frames["recorded"] == FRAMES
    assert sum_of_fates(frames) == FRAMES
    assert min(frames.values()) >= 0
    assert frames["unfinished"] == 0
    assert frames["malformed"] == 1
    assert frames["labelled"] > FRAMES / 2


def test_recorded_labels_are_those_of_the_offline_segmenter(live, checkpoint):
    output, summary = live
    segment = load_segmenter(checkpoint, device="cpu", engine="torch", threads=1)
    labels = labels_of(output)
    assert len(labels) == summary["frames"]["labelled"]
    for stamp_ns, frame_id, array in labels:
        picture = make_picture((stamp_ns - FIRST_NS) // PERIOD_NS, HEIGHT, WIDTH)
        assert frame_id == FRAME_ID
        np.testing.assert_array_equal(array, segment(picture).labels)


def test_stamps_are_the_recorded_ones(live):
    output, summary = live
    stamps = [stamp for stamp, _, _ in labels_of(output)]
    sent = [FIRST_NS + i * PERIOD_NS for i in range(FRAMES)]
    assert set(stamps) <= set(sent)
    assert sent[BAD_FRAME] not in stamps
    with (output / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["stamp_ns"]) for row in rows] == sent
    assert [int(r["stamp_ns"]) for r in rows if r["fate"] == "labelled"] == stamps
    assert summary["source"]["rate_hz"] == pytest.approx(20.0)


def test_times_are_those_of_a_live_camera(live):
    latency = live[1]["latency_ms"]
    assert 0 < latency["age_on_arrival"]["median"] < 1000  # not the age of the recording
    assert latency["end_to_end"]["median"] >= latency["network"]["median"]
    assert {"convert", "preprocess", "network", "postprocess", "publish"} < latency.keys()


def test_scores_are_those_of_the_recorded_labels(live, bag):
    output, summary = live
    truth = images_of(bag, TRUTH)
    confusion = ConfusionMatrix(11)
    for stamp_ns, _, array in labels_of(output):
        confusion.update(array, truth[stamp_ns])
    assert summary["scores"]["images"] == summary["frames"]["labelled"]
    assert summary["scores"]["miou"] == pytest.approx(confusion.mean_iou(), abs=1e-6)


def test_everything_promised_is_written(live):
    output, summary = live
    assert set(summary["files"]) == {"report", "summary", "frames", "labels", "video"}
    assert all(Path(path).exists() for path in summary["files"].values())
    assert json.loads((output / "summary.json").read_text()) == summary
    assert str(summary["frames"]["labelled"]) in (output / "report.html").read_text()


def processes_of(output):
    """Processes that were told of the output folder, the children of a replay among them."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(output) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def has_played(output, frames):
    table = output / "logs" / "played_frames.csv"
    return table.is_file() and len(table.read_text().splitlines()) > frames


@pytest.fixture(scope="module")
def long_bag(folder):
    return make_bag(folder / "long_drive", 600)


def test_ctrl_c_keeps_what_was_recorded_and_leaves_nobody_behind(long_bag, checkpoint, tmp_path):
    output = tmp_path / "out"
    command = ["bag", "replay", long_bag, "--storage", "mcap", "--record", "confidence"]
    process = start_replay(command, checkpoint, output)
    wait_until(lambda: has_played(output, 10), "ten frames")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, stderr
    summary = json.loads(stdout)
    assert summary["interrupted"]
    assert 10 <= summary["frames"]["recorded"] < 600
    assert sum_of_fates(summary["frames"]) == summary["frames"]["recorded"]
    assert len(labels_of(output)) == summary["frames"]["labelled"] > 0
    assert (output / "labels" / "labels.mcap").is_file()
    with BagReader(output / "labels") as reader:
        assert CONFIDENCE_TOPIC in {topic.name for topic in reader.topics}
    assert "this report is partial" in (output / "report.html").read_text()
    assert processes_of(output) == []


def test_killed_replay_takes_its_processes_along_and_closes_the_bag(long_bag, checkpoint, tmp_path):
    output = tmp_path / "out"
    process = start_replay(["demo", "--bag", long_bag], checkpoint, output)
    wait_until(lambda: has_played(output, 10), "ten frames")
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: processes_of(output) == [], "the end of player, node and recorder")
    assert labels_of(output)


@pytest.mark.parametrize("command", ["demo", "bag replay"])
def test_an_output_folder_that_cannot_be_made_is_said(command, bag, checkpoint, tmp_path, capsys):
    (tmp_path / "file").touch()
    where = ["--bag", str(bag)] if command == "demo" else [str(bag)]
    output = ["--model", str(checkpoint), "--output", str(tmp_path / "file" / "out")]
    assert main([*command.split(), *where, *output]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_node_that_cannot_start_is_reported_with_its_reason(bag, checkpoint, tmp_path, capsys):
    status = main(
        ["demo", "--bag", str(bag), "--model", str(checkpoint), "--output", str(tmp_path / "out"),
         "--engine", "abacus"]
    )  # fmt: skip
    assert status == 2
    error = capsys.readouterr().err
    assert "did not become active" in error
    assert "abacus" in error
    assert processes_of(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "dg5"}, "dg5"),
        ({"bag": Path("/nowhere/bag")}, "nowhere"),
        ({"image_topic": "/rear/image"}, "/rear/image"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": 1e-300}, "rate"),
        ({"seconds": float("nan")}, "seconds"),
        ({"frames": 0}, "frames"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    bag, checkpoint, tmp_path, change, reason
):
    values = {"bag": bag, "image_topic": CAMERA, "output": tmp_path, "model": str(checkpoint)}
    with pytest.raises(ErfSegError, match=reason):
        LivePlan.of(LiveOptions(**{**values, **change}))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--truth-classes", "mars"], "no class set 'mars'"),
        (["--truth-topic", "/gt"], "no images on /gt"),
    ],
)
def test_bad_truth_is_said_before_the_drive_is_played(
    bag, checkpoint, tmp_path, capsys, arguments, reason
):
    options = ["--model", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main(["bag", "replay", str(bag), *arguments, *options]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["report.html", "overlay.webm"])
def test_a_folder_where_a_file_goes_is_said_before_the_drive_is_played(
    bag, checkpoint, tmp_path, capsys, name
):
    (tmp_path / name).mkdir()
    options = ["--model", str(checkpoint), "--output", str(tmp_path), "--video"]
    assert main(["bag", "replay", str(bag), *options]) == 2
    assert f"{name} is a folder" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("number", ["nan", "inf", "0", "-1"])
@pytest.mark.parametrize("command", ["bag replay", "bag evaluate --live"])
def test_senseless_rates_are_refused_by_the_command_line(command, number, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "anywhere", "--output", "nowhere", f"--rate={number}"])
    assert f"{number} is no finite number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "demo --bag", "bag replay", "bag evaluate --live"])
def test_two_runs_do_not_share_a_folder(bag, checkpoint, tmp_path, capsys, command):
    played = [] if command == "demo" else [str(bag)]
    option = "--models" if "evaluate" in command else "--model"
    with output_lock(tmp_path):
        options = [option, str(checkpoint), "--output", str(tmp_path)]
        assert main([*command.split(), *played, *options]) == 2
    assert f"another run is writing to {tmp_path}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_name_that_is_no_utf8_is_one_sentence(bag, checkpoint, tmp_path, capsys):
    place = tmp_path / os.fsdecode(b"drive_\xff")
    shutil.copytree(bag, place)
    options = ["--model", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main(["bag", "replay", str(place), *options]) == 2
    assert r"drive_\xff is not UTF-8: rename it" in capsys.readouterr().err
    assert not (tmp_path / "out" / "labels").exists()


def test_names_like_options_and_a_home_that_cannot_be_written(
    folder, checkpoint, tmp_path, monkeypatch
):
    make_bag(tmp_path / "-s4", 3)
    monkeypatch.chdir(tmp_path)
    for name in ("ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    options = LiveOptions(
        Path("-s4"), CAMERA, Path("-out"), str(checkpoint), parameters={"engine": "torch"}
    )
    assert run_live(options, Watcher()).totals.labelled > 0


def test_only_an_old_recording_is_replaced(bag, checkpoint, tmp_path):
    options = LiveOptions(bag, CAMERA, tmp_path, model=str(checkpoint))
    labels = tmp_path / "labels"
    make_bag(labels, 2)
    LivePlan.of(options)
    assert not labels.exists()
    labels.mkdir()
    (labels / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ErfSegError, match=r"holiday\.jpg"):
        LivePlan.of(options)
    assert (labels / "holiday.jpg").exists()


def test_camera_is_found_among_the_topics(bag):
    with BagReader(bag) as reader:
        assert choose_image_topic(reader, None) == CAMERA
        assert choose_image_topic(reader, TRUTH) == TRUTH
        with pytest.raises(ErfSegError, match=CAMERA):
            choose_image_topic(reader, "/rear/image")


def test_camera_info_is_the_images_sibling():
    raw, compressed = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
    info = {"/front/camera_info": "sensor_msgs/msg/CameraInfo"}
    for topic, kind in (
        ("/front/image", raw),
        ("/front/image/compressed", compressed),
        ("/front/jpeg", compressed),
    ):
        assert sibling_camera_info(topic, {topic: kind, **info}) == "/front/camera_info"
    assert sibling_camera_info("/rear/image", {"/rear/image": raw, **info}) is None


def test_totals_separate_what_the_node_gave_up_from_what_the_way_lost():
    counts = {"labelled": 67, "dropped": 15, "malformed": 2, "failed": 1, "too_old": 3}
    assert totals(100, 65, {"received": 90, **counts}) == FrameTotals(
        recorded=100, labelled=65, dropped=15, malformed=2, failed=1, unfinished=2,
        lost_to_node=10, lost_from_node=2, too_old=3,
    )  # fmt: skip
    assert totals(5, 3, {}) == FrameTotals(5, 3, unfinished=2)


def test_totals_are_never_below_zero():
    counts = dict.fromkeys(("received", "labelled", "dropped", "malformed", "failed", "too_old"), 0)
    before_the_last_label = {**counts, "received": 2, "labelled": 2}
    assert totals(5, 3, before_the_last_label) == FrameTotals(5, 3, unfinished=2)
    with pytest.raises(ErfSegError, match="counts do not add up"):
        totals(5, 3, {**counts, "received": 6, "labelled": 6})


def message(topic, live_ns):
    return {"event": "message", "topic": topic, "live_ns": live_ns, "recorded_ns": live_ns}


def test_run_ends_with_the_last_frames_label_and_the_counts_after_it():
    progress = LiveProgress()
    progress.add({"event": "frame", "sent": 1, "live_ns": 10})
    progress.add({"event": "frame", "sent": 2, "live_ns": 20})
    progress.add(message(LABEL_TOPIC, 10))
    progress.add({"event": "done", "sent": 2, "interrupted": False})
    assert not progress.finished()
    before_ns = time.time_ns()
    progress.add(message(LABEL_TOPIC, 20))
    assert not progress.finished()
    progress.add(message("/diagnostics", before_ns))  # overtaken by the label
    assert not progress.finished()
    progress.add(message("/diagnostics", time.time_ns()))
    assert progress.finished()
    assert (progress.sent, progress.labelled) == (2, 2)


def test_domain_stays_claimed_as_long_as_a_process_of_it_lives(monkeypatch):
    with private_domain() as domain, private_domain() as other:
        assert domain.environment["ROS_DOMAIN_ID"] != other.environment["ROS_DOMAIN_ID"]
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[domain.lock_fd]
        )
    taken = domain.environment["ROS_DOMAIN_ID"]
    monkeypatch.setattr("erf_seg_ros.replay.domain._DOMAINS", [int(taken)])
    with pytest.raises(ErfSegError, match="wait"), private_domain():
        pass
    child.communicate(b"\n", timeout=PATIENCE_S)
    with private_domain() as free:
        assert free.environment["ROS_DOMAIN_ID"] == taken


class Watcher:
    def __init__(self):
        self.stages = []

    def stage(self, what, frames=None):
        self.stages.append((what, frames))

    def progress(self, done, note=""):
        pass


class Killer(Watcher):
    """Kills the node once some frames are sent."""

    sent, killed = 0, False

    def progress(self, done, note=""):
        if not self.killed and done >= 5:
            self.killed = True
            for child in psutil.Process().children():
                if "erf_seg_ros.segmentation_node" in child.cmdline():
                    child.kill()
        self.sent = done


class InTheWay(Watcher):
    """Once frames are sent, a folder is where the recorder is to write, as it closes its bag."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def progress(self, done, note=""):
        if done:
            self.place.mkdir(exist_ok=True)


def test_a_recorder_that_cannot_close_its_bag_is_an_error(folder, checkpoint, tmp_path):
    bag = make_bag(folder / "short", 5)
    options = LiveOptions(bag, CAMERA, tmp_path, str(checkpoint), parameters={"engine": "torch"})
    with pytest.raises(ErfSegError, match=r"the disk refused .*metadata\.yaml.*: make room"):
        run_live(options, InTheWay(tmp_path / "labels" / "metadata.yaml"))


def test_a_node_that_dies_is_noticed_while_the_bag_plays(folder, checkpoint, tmp_path):
    frames = 400
    bag = make_bag(folder / "long", frames)
    options = LiveOptions(bag, CAMERA, tmp_path, str(checkpoint), parameters={"engine": "torch"})
    killer = Killer()
    with pytest.raises(ErfSegError, match="the node ended early, status -9"):
        run_live(options, killer)
    assert killer.sent < frames / 2


def test_drive_is_rendered_once(tmp_path):
    options, watcher = DriveOptions(seed=4, frames=3, size=(64, 96)), Watcher()
    bag = rendered_drive(tmp_path, options, watcher)
    with BagReader(bag) as reader:
        counts = {topic.name: topic.count for topic in reader.topics}
    assert counts[CAMERA] == counts[INFO] == counts[TRUTH] == 3
    assert rendered_drive(tmp_path, options, watcher) == bag
    assert len(watcher.stages) == 1
    assert rendered_drive(tmp_path, DriveOptions(5, 3, size=(64, 96)), watcher) != bag


def test_interrupted_rendering_is_not_taken_for_a_drive(tmp_path):
    class Interrupting(Watcher):
        def progress(self, done, note=""):
            if done == 2:
                raise KeyboardInterrupt

    options = DriveOptions(frames=3, size=(64, 96))
    with pytest.raises(KeyboardInterrupt):
        rendered_drive(tmp_path, options, Interrupting())
    watcher = Watcher()
    with BagReader(rendered_drive(tmp_path, options, watcher)) as reader:
        assert {topic.count for topic in reader.topics} == {3}
    assert len(watcher.stages) == 1
