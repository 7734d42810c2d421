"""Scores: their definition, the paper's protocol, and agreement with the official evaluator."""

import argparse
import contextlib
import io
import json
import os

import cv2
import numpy as np
import pytest

from erf_seg_cli.labelled_data import add_data_arguments, data_source
from erf_seg_cli.main import main
from erf_seg_core.checkpoint import CheckpointInfo, save_checkpoint
from erf_seg_core.class_sets import VOID_ID, load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.evaluation.metrics import ConfusionMatrix
from erf_seg_core.evaluation.predictions import to_cityscapes_ids, write_prediction
from erf_seg_core.evaluation.scoring import score, subsampled
from erf_seg_core.models import build_model

CITYSCAPES = load_class_set("cityscapes19")
CAMVID = load_class_set("camvid11")


def damaged(truth, rng, classes=19):
    """A prediction that is right in most places: shifted, with patches of other classes."""
    labels = np.roll(truth, (3, 5), (0, 1))
    labels[labels == VOID_ID] = 0
    h, w = truth.shape
    for _ in range(12):
        y, x = rng.integers(0, h - h // 8), rng.integers(0, w - w // 8)
        labels[y : y + h // 8, x : x + w // 8] = rng.integers(0, classes)
    labels[: h // 50] = VOID_ID
    return labels


def test_iou_by_counting_sets_of_pixels():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    truth[:2] = VOID_ID
    labels = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    labels[5] = VOID_ID
    confusion = ConfusionMatrix(5)
    confusion.update(labels[:10], truth[:10])
    confusion.update(labels[10:], truth[10:])
    known = truth != VOID_ID
    expected = [
        ((labels == c) & (truth == c)).sum() / (((labels == c) | (truth == c)) & known).sum()
        for c in range(4)
    ]
    assert confusion.iou()[:4] == pytest.approx(expected)
    assert np.isnan(confusion.iou()[4])
    assert confusion.mean_iou() == pytest.approx(np.mean(expected))
    assert confusion.accuracy() == pytest.approx((labels == truth)[known].mean())


def test_wrong_ids_and_sizes_are_refused():
    confusion = ConfusionMatrix(3)
    good = np.zeros((4, 4), np.uint8)
    for bad in (np.full((4, 4), 3, np.uint8), np.zeros((4, 5), np.uint8)):
        with pytest.raises(ErfSegError):
            confusion.update(good, bad)
        with pytest.raises(ErfSegError):
            confusion.update(bad, good)


def test_raw_void_labels_are_told_what_void_must_be():
    """CamVid's own label images have 11 for void."""
    raw = np.full((2, 2), 11, np.uint8)
    with pytest.raises(ErfSegError, match=r"truth holds id 11.*void must be 255"):
        ConfusionMatrix(11).update(np.zeros_like(raw), raw)


def test_the_papers_protocol_scores_at_half_the_size():
    truth = np.arange(48, dtype=np.uint8).reshape(6, 8) % 11
    asked = []

    def predict(image, size):
        asked.append(size)
        return truth[1::2, 1::2] if size == (3, 4) else truth

    frames = [(np.zeros((6, 8, 3), np.uint8), truth)]
    for protocol, size in (("full", (6, 8)), ("paper", (3, 4))):
        scores = score(frames, predict, CAMVID, protocol)
        assert scores.to_dict()["miou"] == 1.0
        assert asked.pop() == size
    assert subsampled(np.zeros((7, 9), np.uint8)).shape == (3, 4)
    assert subsampled(np.zeros((1, 9), np.uint8)).shape == (1, 4)


def test_scores_are_json_and_a_table():
    truth = np.array([[0, 1], [1, VOID_ID]], np.uint8)
    scores = score([(None, truth)], lambda image, size: np.zeros(size, np.uint8), CAMVID)
    data = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert data["iou"]["sky"] == pytest.approx(1 / 3, abs=1e-6)
    assert data["iou"]["tree"] is None
    assert data["miou"] == pytest.approx(1 / 6, abs=1e-6)
    assert "building     0.00" in scores.table()
    assert scores.table().splitlines()[-2:] == ["mIoU        16.67", "accuracy    33.33"]


def official_scores(predictions, truths):
    evaluator = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", reason="official evaluator"
    )
    settings = evaluator.args
    settings.evalInstLevelScore = False
    settings.JSONOutput = False
    settings.quiet = True
    with contextlib.redirect_stdout(io.StringIO()):
        result = evaluator.evaluateImgLists([*map(str, predictions)], [*map(str, truths)], settings)
    return result["averageScoreClasses"], result["classScores"]


def cityscapes_truths(data_dir):
    return sorted((data_dir / "cityscapes_sample/gtFine").glob("*/*/*_labelIds.png"))


def test_scores_agree_with_the_official_evaluator(data_dir, tmp_path):
    from erf_seg_core.training.recipe import Source
    from erf_seg_core.training.sources import open_source

    source = Source("cityscapes", "cityscapes_sample")
    labelled = open_source(source, CITYSCAPES, data_dir)
    rng = np.random.default_rng(0)
    frames, predictions, paths = [], [], []
    for i, frame in enumerate(labelled.frames):
        image, truth = labelled.load(i)
        labels = damaged(truth, rng)
        frames.append((image, truth))
        predictions.append(labels)
        paths.append(write_prediction(tmp_path, frame.name, labels, cityscapes=True))
    queue = iter(predictions)
    scores = score(frames, lambda image, size: next(queue), CITYSCAPES).to_dict()
    mean, classes = official_scores(paths, cityscapes_truths(data_dir))
    assert scores["miou"] == pytest.approx(mean, abs=1e-4)
    assert 0.3 < mean < 0.95
    for name, value in classes.items():
        if scores["iou"].get(name) is not None:
            assert scores["iou"][name] == pytest.approx(value, abs=1e-4)


def test_official_ids_of_predictions(tmp_path):
    labels = np.array([[0, 18, VOID_ID]], np.uint8)
    assert to_cityscapes_ids(labels).tolist() == [[7, 33, 0]]
    path = write_prediction(tmp_path, "aachen_0_1_leftImg8bit.png", labels, cityscapes=True)
    assert path.name == "aachen_0_1_pred_labelIds.png"
    with pytest.raises(ErfSegError, match="not train ids"):
        to_cityscapes_ids(np.array([[19]], np.uint8))


def test_predictions_may_have_any_name_that_a_disk_takes(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = write_prediction(folder, os.fsdecode(b"\xe9.jpg"), labels, cityscapes=False)
    assert (cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) == labels).all()
    with pytest.raises(ErfSegError, match="cannot write "):
        write_prediction(folder, "x" * 300, labels, cityscapes=False)


@pytest.fixture
def checkpoint(tmp_path):
    info = CheckpointInfo("dg4_star_light", 11, CAMVID, (48, 64))
    return save_checkpoint(tmp_path / "model.safetensors", build_model(info.model, 11), info)


def test_predictions_and_data_that_do_not_go_together_are_refused(checkpoint, tmp_path, capsys):
    synthetic = ["evaluate", "--model", str(checkpoint), "--data", "synthetic"]
    for options, message in (
        (["--protocol", "paper", "--predictions", str(tmp_path / "out")], "--protocol full"),
        (["--split", "val"], "--split and --only are for folders"),
        (["--only", "a"], "--split and --only are for folders"),
    ):
        assert main([*synthetic, *options]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_scores_and_writes_predictions(checkpoint, tmp_path, capsys):
    from training_data import write_camvid

    write_camvid(tmp_path / "camvid", "val", count=3, ids=12)
    arguments = ["evaluate", "--model", str(checkpoint), "--data", str(tmp_path / "camvid")]
    out = tmp_path / "out"
    assert main([*arguments, "--engine", "torch", "--json", "--predictions", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 3
    assert report["model"] == "dg4_star_light"
    confusion = ConfusionMatrix(11)
    for png in sorted(out.glob("*.png")):
        truth = cv2.imread(str(tmp_path / "camvid/val/labels" / png.name), -1)
        confusion.update(cv2.imread(str(png), -1), np.where(truth == 11, VOID_ID, truth))
    assert report["miou"] == pytest.approx(confusion.mean_iou(), abs=1e-5)
    assert report["confusion"] == confusion.matrix.tolist()

    assert main([*arguments, "--protocol", "paper", "--only", "drive1"]) == 0
    assert "on 1 images, protocol paper" in capsys.readouterr().out


def test_the_command_names_what_is_missing(checkpoint, tmp_path, capsys):
    assert main(["evaluate", "--model", str(checkpoint), "--data", str(tmp_path / "no")]) == 2
    assert "has no folders 'val/images'" in capsys.readouterr().err


def test_released_weights_score_as_officially(data_dir, tmp_path, capsys):
    """The whole chain on the four sample frames, against the official evaluator."""
    weights = data_dir / "released_weights" / "DG4star_proposed_cityscapes.pth"
    model = tmp_path / "dg4_star_light.safetensors"
    imported = ["import", str(weights), "--model", "dg4_star_light", "--output", str(model)]
    assert main(imported) == 0
    capsys.readouterr()
    sample, out = data_dir / "cityscapes_sample", tmp_path / "out"
    arguments = ["evaluate", "--model", str(model), "--data", str(sample), "--split", "train"]
    assert main([*arguments, "--json", "--predictions", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    mean, _ = official_scores(sorted(out.glob("*.png")), cityscapes_truths(data_dir))
    assert report["miou"] == pytest.approx(mean, abs=1e-4)
    assert report["accuracy"] > 0.93


def test_val_is_scored_where_there_is_one_and_else_the_folder_itself(tmp_path):
    def split(*more):
        parser = argparse.ArgumentParser()
        add_data_arguments(parser, required=True, purpose="to score on")
        return data_source(parser.parse_args(["--data", str(tmp_path), *more]), "camvid11").split

    assert split() == "val"
    (tmp_path / "images").mkdir()
    assert split() == "train"  # which is what a folder without splits is
    (tmp_path / "val").mkdir()
    assert split() == "val"
    assert split("--split", "night") == "night"
