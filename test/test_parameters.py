"""Declarations and checks of the node's parameters."""

import inspect

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter

from erf_seg_core.class_sets import load_class_set
from erf_seg_core.errors import ErfSegError
from erf_seg_core.inference import ENGINES, PRECISIONS, load_segmenter
from erf_seg_ros import dds_profile
from erf_seg_ros.parameters import (
    SPECS,
    Applies,
    Settings,
    change_refusal,
    concerns_network,
    declare_class_parameters,
    declare_parameters,
    read_settings,
    undeclare_class_parameters,
)

DEFAULTS = {spec.name: spec.default for spec in SPECS}
SPECS_BY_NAME = {spec.name: spec for spec in SPECS}


@pytest.fixture
def make_node(ros_domain_id):
    """Node with the parameters declared and `values` given at its start."""
    context = rclpy.Context()
    rclpy.init(context=context)

    def make(**values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = rclpy.create_node("test", context=context, parameter_overrides=overrides)
        declare_parameters(node)
        return node

    yield make
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_parameter_is_described(spec):
    descriptor = spec.descriptor()
    assert len(descriptor.description) > 20
    assert descriptor.read_only == (spec.name == "autostart")
    if spec.choices:
        assert all(choice in descriptor.additional_constraints for choice in spec.choices)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("device", "cpu"),
        ("device", "cuda:1"),
        ("engine", "onnxruntime"),
        ("precision", "int8"),
        ("threads", 2),
        ("input_size", [512, 1024]),
        ("input_size", [0, 0]),
        ("label_size", [17, 33]),
        ("class_map", ""),
        ("class_map", __file__),
        ("confidence_threshold", 1.0),
        ("fallback", "cpu"),
        ("transport", "compressed"),
        ("input_reliability", "reliable"),
        ("input_depth", 1),
        ("overlay_alpha", 1.0),
        ("stale_after", 0.5),
        ("cameras", ["front", "left", "rear_2/wide"]),
        ("cameras", [""]),
        ("cameras", None),
        ("input_durability", "transient_local"),
        ("max_age", 0.2),
        ("bad_image_after", 0.0),
        ("bond_heartbeat_period", 0.0),
        ("autostart", False),
    ],
)
def test_good_values_are_taken(name, good):
    assert SPECS_BY_NAME[name].refusal(good) is None


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("model", "dg5", "dg4"),
        ("model", "/nowhere/weights.safetensors", "/nowhere/weights.safetensors"),
        ("model", "x" * 300, "File name too long"),
        ("device", "gpu", "cuda"),
        ("engine", "tensorflow", "onnxruntime"),
        ("precision", "fp64", "fp32"),
        ("threads", -1, "0 to 256"),
        ("input_size", [512], "[height, width]"),
        ("input_size", [512, 1022], "multiples of 8"),
        ("input_size", [512, 0], "must be"),
        ("label_size", [-1, 10], "must be"),
        ("class_map", "/nowhere.yaml", "is no file"),
        ("class_map", "/tmp", "is no file"),
        ("class_map", "nul\0byte", "is no file"),
        ("class_map", "x" * 300, "File name too long"),
        ("confidence_threshold", 1.1, "0.0 to 1.0"),
        ("fallback", "gpu", "none, cpu"),
        ("label_size", [100_000, 10], "16384"),
        ("transport", "theora", "compressed"),
        ("input_reliability", "maybe", "best_effort"),
        ("input_depth", 0, "1 to 100"),
        ("overlay_alpha", 1.5, "0.0 to 1.0"),
        ("cameras", ["front", ""], "a letter first"),
        ("cameras", ["front left"], "'front left'"),
        ("cameras", ["/front"], "'/front'"),
        ("cameras", ["2nd"], "'2nd'"),
        ("cameras", ["left", "front", "left"], "left more than once"),
        ("input_durability", "persistent", "transient_local"),
        ("max_age", -1.0, "0.0 to 3600.0"),
    ],
)
def test_bad_values_are_refused_with_name_and_reason(name, bad, reason):
    refusal = SPECS_BY_NAME[name].refusal(bad)
    assert refusal.startswith(name)
    assert reason in refusal


def test_shipped_parameter_file_shows_the_defaults():
    path = dds_profile.path().with_name("segmentation.yaml")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content == {"/**/segmentation": {"ros__parameters": DEFAULTS}}


@pytest.mark.parametrize("file", ["segmentation.yaml", "three_cameras.yaml"])
@pytest.mark.parametrize("namespace", ["/", "/car", "/fleet/car"])
def test_shipped_files_are_the_segmentation_nodes_and_no_others(context, file, namespace):
    path = dds_profile.path().with_name(file)
    given = {}
    for name in ("segmentation", "semantic_cloud", "front_semantic_cloud"):
        arguments = ["--ros-args", "--params-file", str(path)]
        node = rclpy.create_node(name, namespace=namespace, context=context, cli_args=arguments)
        node.declare_parameter("stale_after", -1.0)
        given[name] = node.get_parameter("stale_after").value
    assert given.pop("segmentation") > 0.0
    assert set(given.values()) == {-1.0}


def test_engines_and_precisions_are_those_of_the_segmenter():
    assert SPECS_BY_NAME["engine"].choices == ENGINES
    assert SPECS_BY_NAME["precision"].choices == PRECISIONS


def test_settings_have_none_for_the_networks_own_choice():
    settings = Settings.from_values(DEFAULTS)
    assert (settings.threads, settings.input_size, settings.label_size) == (None, None, None)
    given = Settings.from_values(
        {**DEFAULTS, "threads": 2, "input_size": [64, 96], "label_size": [1, 2]}
    )
    assert (given.threads, given.input_size, given.label_size) == (2, (64, 96), (1, 2))


def test_what_is_in_use_cannot_change_but_may_be_set_to_the_same():
    in_use = {Applies.ON_CONFIGURE}
    assert "clean the node up" in change_refusal("cameras", ["a"], ["b"], in_use)
    assert change_refusal("cameras", ["a"], ("a",), in_use) is None
    assert change_refusal("input_size", [0, 0], (0, 0), in_use) is None
    assert change_refusal("transport", "raw", "compressed", in_use) is None
    assert change_refusal("overlay_alpha", 0.5, 0.7, {*Applies}) is not None
    assert change_refusal("overlay_alpha", 0.5, 0.7, {Applies.ON_ACTIVATE}) is None
    assert change_refusal("use_sim_time", False, True, {*Applies}) is None


def test_parameters_of_the_network_are_the_arguments_of_load_segmenter():
    """They may change while configured: another network then takes the place of the old one."""
    options = Settings.from_values({**DEFAULTS, "threads": 2, "class_map": "map.yaml"})
    arguments = inspect.signature(load_segmenter).parameters
    assert set(options.network_options()) <= set(arguments)
    assert options.network_options()["threads"] == 2
    assert options.network_options()["class_map"] == "map.yaml"
    for name in options.network_options():
        assert concerns_network([name, "label_size"])
    assert not concerns_network(["label_size", "confidence_threshold", "use_sim_time"])


def test_values_of_wrong_type_or_range_end_the_start(make_node):
    for bad in ({"threads": "many"}, {"overlay_alpha": 2.0}, {"autostart": 1}):
        with pytest.raises(ParameterException):
            make_node(**bad)


def test_bad_values_at_the_start_are_all_named(make_node):
    node = make_node(engine="abacus", device="gpu")
    with pytest.raises(ErfSegError, match=r"device 'gpu'.*engine 'abacus'"):
        read_settings(node)


def test_class_parameters_are_read_only_and_change_with_the_model(make_node):
    node = make_node()
    for name in ("camvid11", "cityscapes19"):
        class_set = load_class_set(name)
        declare_class_parameters(node, class_set)
        assert list(node.get_parameter("class_names").value) == list(class_set.names)
        red, green, blue = class_set.colors[3]
        assert node.get_parameter("class_colors").value[3] == f"#{red:02x}{green:02x}{blue:02x}"
        refused = node.set_parameters([Parameter("class_names", value=["x"])])[0]
        assert not refused.successful
        assert node.describe_parameter("class_names").read_only
        undeclare_class_parameters(node)
        assert not node.has_parameter("class_colors")
    undeclare_class_parameters(node)
