"""What launch arguments mean; under the real launch tools see test_launch.py."""

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from erf_seg_ros.launch_arguments import (
    DEFAULTS,
    cameras_in,
    described_parameters,
    logger_name,
    node_parameters,
    topic_remaps,
    typed,
)
from erf_seg_ros.parameter_specs import SPECS

ROOT = Path(__file__).resolve().parents[1]
NOTHING = dict.fromkeys([*DEFAULTS, "image", "camera_info"], "")


def test_every_parameter_is_an_argument_that_is_explained():
    described = described_parameters()
    assert set(described) == {spec.name for spec in SPECS} | {"use_sim_time"}
    assert all(described.values())
    assert described["model"].endswith("empty: from params_file, else dg4")


def test_empty_arguments_are_not_passed_on():
    assert node_parameters(NOTHING) == {}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_default_as_text_is_the_default(spec):
    if spec.default in ("", [""]):
        pytest.skip("an empty text is not passed on")
    text = str(spec.default) if isinstance(spec.default, str) else yaml.safe_dump(spec.default)
    text = text.removesuffix("...\n").strip()
    value = typed(spec.name, spec.default, text)
    assert value == spec.default
    assert type(value) is type(spec.default)


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        ("dg4", "123", "123"),
        ("dg4", "no", "no"),
        (0.5, "1", 1.0),
        (True, "false", False),
        ([0, 0], "[30, 40]", [30, 40]),
        ([""], "front,left", ["front", "left"]),
        ([""], "front", ["front"]),
        ([""], "[front, left]", ["front", "left"]),
    ],
)
def test_text_becomes_what_the_parameter_is(default, text, value):
    assert typed("name", default, text) == value
    assert type(typed("name", default, text)) is type(value)


@pytest.mark.parametrize(
    ("default", "text"),
    [(0, "many"), (0, "1.5"), (True, "1"), (0.5, "x"), ([0, 0], "3"), ([0, 0], "[a]"), (0, "[")],
)
def test_wrong_type_names_the_argument(default, text):
    with pytest.raises(ValueError, match=re.escape(f"threads:={text} is not of type")):
        typed("threads", default, text)


def test_only_camera():
    given = {**NOTHING, "image": "/camera/image_raw"}
    assert topic_remaps(given, [""]) == [("image", "/camera/image_raw")]
    assert topic_remaps(NOTHING, [""]) == []


def test_cameras_of_a_parameter_file(tmp_path):
    assert cameras_in([ROOT / "config" / "three_cameras.yaml"]) == ["front", "left", "right"]
    assert cameras_in([ROOT / "config" / "segmentation.yaml"]) == []
    mine = tmp_path / "mine.yaml"
    for node in ("segmentation", "/car/segmentation"):
        mine.write_text(yaml.safe_dump({node: {"ros__parameters": {"cameras": ["rear"]}}}))
        assert cameras_in([mine]) == ["rear"]
    nested = {"car": {"segmentation": {"ros__parameters": {"cameras": ["rear"]}}}}
    mine.write_text(yaml.safe_dump(nested))
    assert cameras_in([mine]) == ["rear"]
    mine.write_text(yaml.safe_dump({"driver": {"ros__parameters": {"cameras": ["no"]}}}))
    assert cameras_in([mine]) == []
    mine.write_text("[")
    with pytest.raises(ValueError, match=r"params_file:=.*mine.yaml cannot be read"):
        cameras_in([mine])


def test_several_cameras_by_their_names():
    given = {**NOTHING, "image": "/{camera}/image_raw", "left_image": "/odd/picture"}
    given["camera_info"] = "/{camera}/calibration"
    assert topic_remaps(given, ["front", "left", "rear/wide"]) == [
        ("front/image", "/front/image_raw"),
        ("front/camera_info", "/front/calibration"),
        ("left/image", "/odd/picture"),
        ("left/camera_info", "/left/calibration"),
        ("rear/wide/image", "/rear/wide/image_raw"),
        ("rear/wide/camera_info", "/rear/wide/calibration"),
    ]
    assert topic_remaps(NOTHING, ["front", "left"]) == []


def test_one_topic_for_several_cameras_is_refused():
    given = {**NOTHING, "image": "/camera/image_raw"}
    with pytest.raises(ValueError, match=r"write \{camera\} .* front_image:="):
        topic_remaps(given, ["front", "left"])


@pytest.mark.parametrize(
    ("pushed", "namespace", "logger"),
    [
        (None, "", "segmentation"),
        (None, "car", "car.segmentation"),
        (None, "/fleet/car", "fleet.car.segmentation"),
        ("/fleet", "", "fleet.segmentation"),
        ("/fleet", "car", "fleet.car.segmentation"),
        ("/fleet", "/car", "car.segmentation"),
        ("/", "car/", "car.segmentation"),
        ("/fleet", "/", "segmentation"),
    ],
)
def test_logger_is_named_after_all_namespaces(pushed, namespace, logger):
    given = {"namespace": namespace} | ({"ros_namespace": pushed} if pushed else {})
    assert logger_name(given, "segmentation") == logger
