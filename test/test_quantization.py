"""INT8 on the CPU: calibration, its cache, the labels, and when "auto" takes it."""

import json

import cv2
import numpy as np
import pytest
from inference_helpers import info_for, random_network

from erf_seg_cli.commands.quantize import pictures_of
from erf_seg_cli.main import main
from erf_seg_core.benchmark.run import street_images
from erf_seg_core.checkpoint import build_from_checkpoint
from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference import Segmenter
from erf_seg_core.inference.calibration import (
    Worth,
    conditions_here,
    convolutions,
    find_calibration,
    float_graph,
    record_worth,
)
from erf_seg_core.inference.quantization import calibrate, quantized

MODEL = "dg4_star_light"
SIZE = (64, 128)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "erf_seg" / "int8"


@pytest.fixture(scope="module")
def trained():
    return build_from_checkpoint(MODEL)


@pytest.fixture(scope="module")
def pictures():
    return street_images((96, 192))


def segmenter(trained, precision, size=SIZE):
    return Segmenter(*trained, device="cpu", input_size=size, threads=1, precision=precision)


def test_int8_needs_a_calibration_of_these_weights(trained, pictures):
    with pytest.raises(ErfSegError, match="erf_seg quantize"):
        segmenter(trained, "int8")
    other = random_network(MODEL, num_outputs=19)
    calibrate(other, SIZE, pictures[:1], "somewhere")
    assert find_calibration(trained[0]) is None
    assert find_calibration(other).images == "1 images of somewhere"
    assert Segmenter(other, info_for(other), device="cpu", precision="int8").precision == "int8"


def test_int8_labels_are_nearly_those_of_float32_at_any_size(trained, pictures):
    calibrate(trained[0], SIZE, pictures, "the street")
    for size in (SIZE, (96, 192)):
        eight, full = segmenter(trained, "int8", size), segmenter(trained, "fp32", size)
        assert (eight.precision, full.precision) == ("int8", "fp32")
        for picture in pictures[:2]:
            ours, theirs = eight(picture), full(picture)
            assert (ours.labels == theirs.labels).mean() > 0.9
            difference = ours.confidence.astype(int) - theirs.confidence
            assert 0 < np.abs(difference).mean() < 16  # not the same arithmetic, nearly the result


def test_all_convolutions_but_the_first_two_are_quantised(trained, pictures):
    calibration = calibrate(trained[0], SIZE, pictures[:1], "the street")
    graph = quantized(float_graph(trained[0], SIZE), calibration)
    maker = {output: node for node in graph.graph.node for output in node.output}
    eight_bit = [maker.get(node.input[1]) is not None for node in convolutions(graph)]
    assert eight_bit[:2] == [False, False]
    assert all(eight_bit[2:]) and len(eight_bit) > 40


@pytest.mark.parametrize(
    ("loss", "speedup", "precision"),
    [(0.004, 1.5, "int8"), (0.006, 1.5, "fp32"), (0.0, 0.9, "fp32"), (None, 1.5, "fp32")],
)
def test_auto_takes_int8_only_where_it_was_found_worth_it(
    trained, pictures, loss, speedup, precision
):
    calibrate(trained[0], SIZE, pictures[:1], "the street")
    assert segmenter(trained, "auto").precision == "fp32"
    record_worth(trained[0], Worth(loss, speedup, "a test", conditions_here(SIZE, 1)))
    assert segmenter(trained, "auto").precision == precision
    assert segmenter(trained, "int8").precision == "int8"
    # What holds at one size, or on one machine, says nothing of another.
    assert segmenter(trained, "auto", size=(96, 192)).precision == "fp32"
    record_worth(trained[0], Worth(loss, speedup, "a test", "another machine"))
    assert segmenter(trained, "auto").precision == "fp32"


def test_damaged_calibrations_count_as_none(trained, pictures, cache):
    calibrate(trained[0], SIZE, pictures[:1], "the street")
    (file,) = cache.iterdir()
    whole = file.read_text()
    for damaged in ("", "[]", whole[:100], json.dumps({**json.loads(whole), "format": 99})):
        file.write_text(damaged)
        assert find_calibration(trained[0]) is None
    file.write_text(whole)
    assert find_calibration(trained[0]) is not None


def test_quantize_reports_speed_and_loss_and_records_them(data_dir, trained, capsys):
    arguments = ["--input-size", "64", "96", "--rounds", "2", "--threads", "1", "--most", "3"]
    images = ["--images", str(data_dir / "camvid" / "val" / "images")]
    data = ["--data", str(data_dir / "camvid"), "--only", "0016E5_07959", "0016E5_07961"]
    assert main(["quantize", MODEL, *images, *arguments, *data, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    plain, eight = document["rows"]
    assert (plain["precision"], eight["precision"]) == ("fp32", "int8")
    lost = plain["accuracy"]["miou"] - eight["accuracy"]["miou"]
    assert document["miou_loss"] == pytest.approx(lost)
    calibration = find_calibration(trained[0])
    assert calibration.worth.miou_loss == pytest.approx(lost)
    assert calibration.worth.speedup == document["speedup_at_least"] <= document["speedup"]
    conditions = conditions_here((64, 96), 1)
    assert calibration.worth.conditions == document["conditions"] == conditions
    assert calibration.worth_it(conditions) == document["used_by_auto"]
    size = ["--input-size", "64", "96"]
    assert main(["evaluate", "--model", MODEL, *size, *data, "--precision", "int8", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["precision"] == "int8"
    assert evaluated["miou"] == pytest.approx(eight["accuracy"]["miou"], abs=1e-6)


def test_quantize_refuses_a_folder_without_pictures(tmp_path, capsys):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert main(["quantize", MODEL, "--images", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err


def write_grey(folder, count, size=(64, 96)):
    folder.mkdir()
    for grey in range(count):
        cv2.imwrite(str(folder / f"{grey:02}.png"), np.full((*size, 3), grey, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("most", "taken"), [(1, [0]), (3, [0, 3, 6]), (7, [0, 1, 2, 4, 5, 7, 8]), (20, range(10))]
)
def test_pictures_are_spread_over_the_folder(tmp_path, most, taken):
    pictures = pictures_of(write_grey(tmp_path / "in", 10), most)
    assert [picture[0, 0, 0] for picture in pictures] == list(taken)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (["--rounds", "0"], "--rounds: 0 is"),
        (["--most", "0"], "--most: 0 is"),
        (["--threads", "0"], "--threads: 0 is"),
        (["--input-size", "0", "0"], "0×0"),
        (["--data", "nowhere"], "nowhere has no folders"),
    ],
)
def test_quantize_finds_mistakes_before_it_begins(tmp_path, capsys, cache, mistake, message):
    arguments = ["quantize", MODEL, "--images", str(write_grey(tmp_path / "in", 1)), *mistake]
    try:
        status = main(arguments)
    except SystemExit as leaving:  # argparse's
        status = leaving.code
    assert (status, message in capsys.readouterr().err) == (2, True)
    assert not cache.exists()


def test_quantize_takes_pictures_larger_than_any_camera_s(tmp_path, capsys):
    arguments = ["--input-size", "64", "96", "--rounds", "1", "--threads", "1", "--json"]
    folder = write_grey(tmp_path / "in", 1, size=(20, 5000))
    assert main(["quantize", MODEL, "--images", str(folder), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["speedup"] > 0
