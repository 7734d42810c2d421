"""Which topics the inputs are under remapping rules, and that each rule is applied once."""

import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from node_under_test import PATIENCE_S
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from erf_seg_core.errors import ErfSegError
from erf_seg_ros.camera_input import CameraInput
from erf_seg_ros.frame_counts import FrameCounter
from erf_seg_ros.parameters import SPECS, Settings
from erf_seg_ros.topics import camera_info_topic, image_topic

SWAPPED = ("front/image:=/rear/image", "rear/image:=/front/image")
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def make_node(context):
    def make(*rules, namespace="/"):
        arguments = ["--ros-args", *(word for rule in rules for word in ("-r", rule))]
        return rclpy.create_node(
            "segmentation", namespace=namespace, context=context, cli_args=arguments
        )

    return make


@pytest.fixture
def open_input():
    inputs = []

    def make(node, camera, **values):
        settings = Settings.from_values({spec.name: spec.default for spec in SPECS} | values)
        inputs.append(
            CameraInput(node, camera, settings, FrameCounter(), lambda _: None, lambda _: None)
        )
        return inputs[-1]

    yield make
    for source in inputs:
        source.close()


def subscribed(node):
    return sorted(subscription.topic_name for subscription in node.subscriptions)


@pytest.mark.parametrize(
    ("rules", "transport", "image", "info"),
    [
        ([], "raw", "/car/image", "/car/camera_info"),
        ([], "compressed", "/car/image/compressed", "/car/camera_info"),
        (["image:=/cam/raw"], "raw", "/cam/raw", "/cam/camera_info"),
        (["image:=/cam/rgb"], "compressed", "/cam/rgb/compressed", "/cam/camera_info"),
        (["image:=/c/i/compressed"], "compressed", "/c/i/compressed", "/c/camera_info"),
        (["image:=front/image"], "raw", "/car/front/image", "/car/front/camera_info"),
        (["image:=/cam/a", "camera_info:=/b/info"], "raw", "/cam/a", "/b/info"),
        (["image/compressed:=/c/i/compressed"], "compressed", "/c/i/compressed", "/c/camera_info"),
        (["image/compressed:=/cam/jpeg"], "compressed", "/cam/jpeg", "/cam/camera_info"),
        (["image/compressed:=/cam/jpeg"], "raw", "/car/image", "/car/camera_info"),
        (
            ["image:=/cam/raw", "image/compressed:=/cam/jpeg"],
            "compressed",
            "/cam/jpeg",
            "/cam/camera_info",
        ),
    ],
)
def test_inputs_follow_image_transport(make_node, open_input, rules, transport, image, info):
    node = make_node(*rules, namespace="/car")
    source = open_input(node, "", transport=transport)
    assert source.topic == image
    assert subscribed(node) == sorted([image, info])


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_swapped_cameras_stay_swapped(make_node, open_input, transport):
    node = make_node(*SWAPPED)
    suffix = "" if transport == "raw" else "/compressed"
    for camera, other in (("front", "rear"), ("rear", "front")):
        source = open_input(node, camera, transport=transport)
        assert source.topic == f"/{other}/image{suffix}"
        assert f"/{other}/camera_info" in subscribed(node)


def test_publishers_out_of_reach_are_those_of_the_swapped_topic(context, make_node, open_input):
    source = open_input(make_node(*SWAPPED), "front", input_reliability="reliable")
    driver = rclpy.create_node("driver", context=context)
    driver.create_publisher(Image, "/front/image", RELIABLE)
    driver.create_publisher(Image, "/rear/image", BEST_EFFORT)
    deadline = time.monotonic() + PATIENCE_S
    while not (found := source.incompatible_publishers()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found == [
        "/driver offers another quality of service: best effort publisher and reliable subscription"
    ]


@pytest.mark.parametrize(
    ("rules", "transport", "reason"),
    [
        (
            ["image:=/cam/raw", "/cam/raw/compressed:=/elsewhere"],
            "compressed",
            "image/compressed is to be /cam/raw/compressed, .* to /elsewhere: remap image/compr",
        ),
        (
            ["image:=/cam/raw", "/cam/camera_info:=/elsewhere"],
            "raw",
            "camera_info is to be /cam/camera_info, .* to /elsewhere: remap camera_info itself",
        ),
    ],
)
def test_computed_name_that_another_rule_catches_is_refused(make_node, rules, transport, reason):
    node = make_node(*rules)
    with pytest.raises(ErfSegError, match=reason):
        image_topic(node, "", transport)
        camera_info_topic(node, "", transport)
