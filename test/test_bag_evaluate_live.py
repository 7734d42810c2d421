"""`erf_seg bag evaluate --live`: bags over DDS through the node, into the same report."""

import csv
import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from evaluated_bags import CAMERA, labelled_frames, save_network, write_drive

from erf_seg_cli.main import main
from erf_seg_core import load_segmenter
from erf_seg_core.bags import BagReader
from erf_seg_core.evaluation import ConfusionMatrix
from erf_seg_core.evaluation.frame_scores import FrameScores

pytestmark = pytest.mark.timeout(400)  # two runs of three processes each
FRAMES = 12


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Result folder, bag and networks of one evaluation with two models."""
    folder = tmp_path_factory.mktemp("live")
    networks = [save_network(folder / f"{n}.safetensors", seed) for seed, n in enumerate("ab")]
    bag = write_drive(folder / "drive", FRAMES)
    broken = folder / "broken.mcap"
    broken.write_bytes(b"no recording")
    output = folder / "out"
    models = ",".join(map(str, networks))
    arguments = ["bag", "evaluate", str(broken), str(bag), "--live", "--models", models]
    assert main([*arguments, "--engine", "torch", "--threads", "1", "--output", str(output)]) == 1
    return output, bag, networks


def test_a_bag_that_cannot_be_played_costs_no_other(live):
    summary = json.loads((live[0] / "summary.json").read_text())
    (problem,) = summary["problems"]
    assert "broken.mcap" in problem
    assert [bag["name"] for bag in summary["bags"]] == ["drive"]


def test_nothing_that_can_be_played_is_an_error_with_the_reason(live, tmp_path, capsys):
    (tmp_path / "cut.mcap").write_bytes(b"no recording")
    arguments = ["bag", "evaluate", str(tmp_path / "cut.mcap"), "--live", "--models"]
    assert main([*arguments, str(live[2][0]), "--output", str(tmp_path / "out")]) == 2
    assert "cut.mcap" in capsys.readouterr().err


def test_every_frame_is_accounted_for(live):
    output, _, _ = live
    summary = json.loads((output / "summary.json").read_text())
    assert summary["live"]
    with (output / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in "ab":
        fates = summary["models"][name]["frames"]
        assert fates["recorded"] == FRAMES
        assert sum(count for fate, count in fates.items() if fate != "recorded") == FRAMES
        mine = [row for row in rows if row["model"] == name]
        assert len(mine) == FRAMES
        labelled = [row for row in mine if row["fate"] == "labelled"]
        assert len(labelled) == fates["labelled"] > 0
        assert all(float(row["end_to_end_ms"]) > 0 for row in labelled if row["end_to_end_ms"])


def test_what_the_node_labelled_scores_as_offline(live):
    output, bag, networks = live
    with BagReader(bag) as reader:
        stamps = [stamp_ns for stamp_ns, _, _ in reader.images(CAMERA)]
    frames = dict(zip(stamps, labelled_frames(bag), strict=True))
    for name, network in zip("ab", networks, strict=True):
        segmenter = load_segmenter(network, engine="torch", threads=1)
        scores = FrameScores.load(output / name / "confusion.npz")
        for stamp_ns, found in zip(scores.stamps_ns.tolist(), scores.confusion, strict=True):
            picture, truth = frames[stamp_ns]
            expected = ConfusionMatrix(11)
            expected.update(segmenter(picture).labels, truth)
            assert np.array_equal(found, expected.matrix)
    assert (output / "report.html").stat().st_size > 10_000


def test_bad_truth_is_said_before_a_bag_is_played(live, tmp_path, capsys):
    _, bag, (network, _) = live
    arguments = ["bag", "evaluate", str(bag), "--live", "--models", str(network)]
    assert main([*arguments, "--truth", "/gt", "--output", str(tmp_path)]) == 2
    assert "no label images on /gt" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/live"))


def test_a_reference_is_for_offline_runs(live, capsys):
    _, bag, (network, other) = live
    arguments = ["bag", "evaluate", str(bag), "--live", "--models", str(network)]
    assert main([*arguments, "--reference", str(other)]) == 2
    assert "no reference model" in capsys.readouterr().err
