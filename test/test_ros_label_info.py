"""What each label means, latched for subscribers that come late."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor

from erf_seg_core.class_sets import load_class_set
from erf_seg_ros import label_info

CLASSES = load_class_set("camvid11")


@pytest.fixture
def node(context):
    return rclpy.create_node("segmentation", context=context)


def test_late_subscriber_receives_names_by_id_without_void(node):
    messages = pytest.importorskip(
        "vision_msgs.msg", reason="vision_msgs is not installed; a ROS 2 installation has it"
    )
    stamp = Time(sec=7, nanosec=5)
    publisher = label_info.label_info_publisher(node, "~/label_info")
    publisher.publish(label_info.label_info_message(CLASSES, 0.25, stamp))
    received = []
    node.create_subscription(
        messages.LabelInfo, "~/label_info", received.append, label_info.LATCHED
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    for _ in range(200):
        if received:
            break
        executor.spin_once(timeout_sec=0.05)
    message = received[0]
    assert message.header.stamp == stamp
    assert [(c.class_id, c.class_name) for c in message.class_map] == [*enumerate(CLASSES.names)]
    assert message.threshold == 0.25


@pytest.mark.skipif(label_info.LabelInfo is not None, reason="vision_msgs is installed")
def test_without_vision_msgs_there_is_no_topic(node):
    assert label_info.label_info_publisher(node, "~/label_info") is None
    assert node.count_publishers("/segmentation/label_info") == 0
