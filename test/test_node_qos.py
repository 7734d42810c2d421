"""Quality of service: parameters, overrides, and publishers that cannot be heard."""

import math
import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from node_under_test import PATIENCE_S, Client, NodeProcess, bgr8, make_checkpoint, make_picture
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from erf_seg_ros.camera_input import CameraInput, Frame
from erf_seg_ros.frame_counts import FrameCounter
from erf_seg_ros.parameters import SPECS, Settings

VALUES = {spec.name: spec.default for spec in SPECS}


@pytest.fixture
def make_node(ros_domain_id):
    """Nodes in contexts, and so DDS participants, of their own."""
    contexts = []

    def make(name, *arguments):
        contexts.append(rclpy.Context())
        rclpy.init(context=contexts[-1])
        cli_args = ["--ros-args", *arguments]
        return rclpy.create_node(name, context=contexts[-1], cli_args=cli_args)

    yield make
    for context in contexts:
        rclpy.shutdown(context=context)


def open_input(node, **values):
    settings = Settings.from_values({**VALUES, **values})
    return CameraInput(
        node, "front", settings, FrameCounter(), on_frame=lambda _: None, on_info=lambda _: None
    )


def wait_for(condition):
    """Discovery runs in the middleware's own threads."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def subscribed(node, topic="/front/image"):
    (subscription,) = (s for s in node.subscriptions if s.topic_name == topic)
    qos = subscription.qos_profile
    return qos.reliability, qos.durability, qos.depth


def test_parameters_decide_on_the_image_subscription(make_node):
    node = make_node("segmentation")
    source = open_input(node)
    assert subscribed(node) == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 5)
    source.close()
    source = open_input(
        node, input_reliability="reliable", input_durability="transient_local", input_depth=2
    )
    # and not what rclpy remembers of the time before
    assert subscribed(node) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 2)
    source.close()
    assert not [s for s in node.subscriptions if "front" in s.topic_name]


def test_overrides_win_every_time(make_node):
    topic = "qos_overrides./front/image.subscription"
    node = make_node(
        "segmentation", "-p", f"{topic}.reliability:=reliable", "-p", f"{topic}.depth:=3"
    )
    for _ in range(2):
        source = open_input(node)
        assert subscribed(node) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 3)
        assert node.get_parameter(f"{topic}.depth").value == 3
        source.close()


@pytest.mark.parametrize("topic", ["image", "camera_info"])
def test_unusable_override_is_an_error_that_names_it(make_node, topic):
    name = f"qos_overrides./front/{topic}.subscription.reliability"
    node = make_node("segmentation", "-p", f"{name}:=perhaps")
    with pytest.raises(RuntimeError, match=r"reliability.*perhaps"):
        open_input(node)
    assert not [s for s in node.subscriptions if "front" in s.topic_name]


def test_publishers_out_of_reach_are_named_with_the_reason(make_node):
    node, driver = make_node("segmentation"), make_node("driver", "-r", "__ns:=/car")
    source = open_input(node, input_reliability="reliable")
    assert source.incompatible_publishers() == []
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = driver.create_publisher(Image, "/front/image", best_effort)
    found = wait_for(lambda: "/driver" in str(f := source.incompatible_publishers()) and f)
    assert found == [
        "/car/driver offers another quality of service: "
        "best effort publisher and reliable subscription"
    ]
    driver.destroy_publisher(publisher)
    wait_for(lambda: not source.incompatible_publishers())


def test_publisher_of_another_type_is_named(make_node):
    node, driver = make_node("segmentation"), make_node("driver")
    source = open_input(node)
    driver.create_publisher(CompressedImage, "/front/image", 1)
    found = wait_for(lambda: "/driver" in str(f := source.incompatible_publishers()) and f)
    assert found == [
        "/driver publishes sensor_msgs/msg/CompressedImage and not sensor_msgs/msg/Image"
    ]


@pytest.mark.parametrize(
    ("age_ms", "limit", "old"),
    [
        (500.0, 0.4, True),
        (500.0, 0.6, False),
        (500.0, 0.0, False),
        (-500.0, 0.1, False),
        (math.nan, 0.1, False),
    ],
)
def test_age_limit(age_ms, limit, old):
    assert Frame(Image(), 0.0, age_ms).is_older_than(limit) == old


def test_node_reports_a_publisher_that_it_cannot_hear(tmp_path, ros_domain_id):
    parameters = {"model": make_checkpoint(tmp_path / "small.safetensors"), "engine": "torch"}
    with NodeProcess(
        tmp_path / "node.log", device="cpu", threads=1, input_reliability="reliable", **parameters
    ) as process:
        client = Client()
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        publisher = client.node.create_publisher(Image, "image", best_effort)
        status, values = client.wait_for_status(
            "camera: unheard",
            lambda status, _: status.level == DiagnosticStatus.ERROR,
            "the publisher out of reach",
        )
        assert "offers another quality of service: best effort publisher" in status.message
        assert values["unheard_publishers"] == "1"
        client.wait_until(lambda: "(RELIABILITY)" in process.log, "the warning in the log")
        client.node.destroy_publisher(publisher)
        client.wait_for_status(
            "camera: unheard", lambda status, _: status.level == DiagnosticStatus.OK, "its end"
        )

        # outputs reach readers of either kind, and those who want the newest only
        received = []
        client.node.create_subscription(Image, "segmentation/label", received.append, best_effort)
        client.listen(Image, "label")
        images = client.node.create_publisher(Image, "image", 10)
        client.connect(images, bgr8(make_picture()), "label")
        client.wait_until(lambda: received, "a label, best effort")
        client.close()
        assert process.end()[0] == 0
