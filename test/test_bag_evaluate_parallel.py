"""Many bags at a time: the same numbers as one process, whatever dies on the way."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import psutil
import pytest
from evaluated_bags import CAMERA, FRAME_ID, broken_image, save_network, stamp_of, write_drive
from inference_helpers import images

from erf_seg_core.bags import BagReader, BagWriter
from erf_seg_core.bags.messages import IMAGE
from erf_seg_core.errors import ErfSegError
from erf_seg_core.evaluation.frame_scores import FrameScores
from erf_seg_core.replay_evaluation.cluster import run_on_cluster
from erf_seg_core.replay_evaluation.evaluation import Parallel, evaluate_bags
from erf_seg_core.replay_evaluation.options import EvaluationOptions

pytestmark = pytest.mark.timeout(400)  # several processes that import torch

FRAMES = 100
"""Enough that a worker is still busy when it is killed."""

DRIVES = ("drive", "stop")
"""One is called like what tells workers to end, which must not be mistaken for it."""


def command_line(process):
    """Empty for a child that has ended and that nobody has waited for yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


class Killer:
    """A listener that kills one worker in the middle of a bag, if it is told its command line."""

    def __init__(self, marker=None):
        self.marker, self.killed, self.problems, self.kept = marker, None, [], None

    def begin(self, frames, kept_bags):
        self.kept = kept_bags

    def problem(self, what):
        self.problems.append(what)

    def progress(self, frames):
        if self.marker is None or self.killed or not frames:
            return
        for child in psutil.Process().children(recursive=True):
            if self.marker in command_line(child):
                self.killed = child.pid
                os.kill(child.pid, signal.SIGKILL)
                return


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def options(folder):
    network = save_network(folder / "small.safetensors")
    return EvaluationOptions((str(network),), threads=1, engine="torch")


@pytest.fixture(scope="module")
def bags(folder):
    """Two drives, and between them one that nobody can read."""
    drives = [write_drive(folder / name, FRAMES, seed=i + 1) for i, name in enumerate(DRIVES)]
    broken = write_drive(folder / "broken", 3, storage="mcap")
    content = (broken / "broken.mcap").read_bytes()
    (broken / "broken.mcap").write_bytes(content[: len(content) // 2])
    return [drives[0], broken, *drives[1:]]


@pytest.fixture(scope="module")
def alone(folder, bags, options):
    """What one process makes of them."""
    done = evaluate_bags(bags, options, folder / "alone", Parallel(1), Killer())
    assert len(done.contents.problems) == 1
    return folder / "alone"


def assert_same(output, expected):
    ours, theirs = (FrameScores.load(o / "small" / "confusion.npz") for o in (output, expected))
    assert len(ours) == 2 * FRAMES
    for name in ("bag", "stamps_ns", "confusion"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    first, second = (json.loads((o / "summary.json").read_text()) for o in (output, expected))
    models = [summary["models"]["small"] for summary in (first, second)]
    for name in ("scores", "boundary_f", "flicker", "calibration_error", "confusion"):
        assert models[0][name] == models[1][name], name


def test_processes_give_what_one_gives_though_one_is_killed(bags, options, alone, tmp_path):
    listener = Killer("multiprocessing.spawn import spawn_main")
    done = evaluate_bags(bags, options, tmp_path, Parallel(2), listener)
    assert listener.killed
    assert not done.complete
    assert not done.interrupted
    (problem,) = listener.problems
    assert "broken" in problem
    assert list(done.contents.problems) == [problem]
    assert_same(tmp_path, alone)
    for bag in DRIVES:
        with BagReader(tmp_path / "small" / "annotated" / bag) as annotated:
            assert {t.count for t in annotated.topics} == {FRAMES}
    assert {f.name for f in (tmp_path / "parts").iterdir()} == set(DRIVES)

    again = Killer()
    evaluate_bags(bags, options, tmp_path, Parallel(2), again)
    assert again.kept == 2
    assert_same(tmp_path, alone)


def test_cluster_gives_what_one_gives_though_a_worker_is_killed(bags, options, alone, tmp_path):
    pytest.importorskip("distributed", reason="the cluster extra (Dask) is not installed")
    listener = Killer("multiprocessing.spawn import spawn_main")
    evaluate_bags(bags, options, tmp_path, Parallel(2, "local"), listener)
    assert listener.killed
    assert_same(tmp_path, alone)


def test_ctrl_c_ends_the_processes_and_keeps_what_they_have(bags, options, tmp_path):
    class Interrupting(Killer):
        def progress(self, frames):
            if frames > 20:
                raise KeyboardInterrupt

    done = evaluate_bags([bags[0], bags[2]], options, tmp_path, Parallel(2), Interrupting())
    assert done.interrupted
    scored = len(FrameScores.load(tmp_path / "small" / "confusion.npz"))
    assert 20 < scored <= 2 * FRAMES
    assert "Interrupted after" in done.contents.partial
    assert not [p for p in psutil.Process().children() if "spawn_main" in command_line(p)]


def test_workers_that_somebody_else_stops_leave_a_partial_report(bags, options, tmp_path):
    class Stopping(Killer):
        def progress(self, frames):
            if frames:
                (tmp_path / "parts" / ".stop").touch()

    done = evaluate_bags([bags[0], bags[2]], options, tmp_path, Parallel(2), Stopping())
    assert not done.interrupted
    assert not done.complete


def test_cluster_that_does_not_answer(bags, options, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the cluster extra (Dask) is not installed")
    monkeypatch.setattr("erf_seg_core.replay_evaluation.cluster._CONNECT_S", 1)
    with pytest.raises(ErfSegError, match="no Dask scheduler answers"):
        list(run_on_cluster([], "tcp://127.0.0.1:9", 1, lambda frames: None))


def test_notes_name_the_bags_that_they_concern(options, tmp_path):
    good = write_drive(tmp_path / "good", 4)
    with BagWriter(tmp_path / "poor") as bag:
        bag.write_cdr(CAMERA, IMAGE, stamp_of(0), broken_image(stamp_of(0)))
        for index, picture in enumerate(images(3, (48, 64)), start=1):
            bag.write_image(CAMERA, stamp_of(index), FRAME_ID, picture, "bgr8")
    limited = replace(options, limit=4)
    both = [good, tmp_path / "poor"]
    done = evaluate_bags(both, limited, tmp_path / "out", Parallel(1), Killer())
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the first 4 frames of each bag" in page
    for note in (
        "Not scored in poor: the bag has no truth on /ground_truth/label.",
        "1 of 8 images could not be decoded (poor).",
    ):
        assert note in page
        assert note in done.table
