"""`vision_msgs/LabelInfo`, where vision_msgs is installed: what each label id means."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from erf_seg_core.class_sets import ClassSet

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # not among the ROS 2 wheels on PyPI; part of every ROS 2 installation's apt
    LabelInfo = VisionClass = None

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def publish_label_info(
    node: Node, topic: str, class_set: ClassSet, stamp: Time
) -> Publisher | None:
    """Latch the class map on `topic`; None where vision_msgs is not installed.

    The message stays available to late subscribers until the publisher is destroyed.
    """
    if LabelInfo is None:
        return None
    publisher = node.create_publisher(LabelInfo, topic, LATCHED)
    publisher.publish(label_info_message(class_set, stamp))
    return publisher


def label_info_message(class_set: ClassSet, stamp: Time) -> Any:
    """`LabelInfo` of a class set. 255 means void by the message's own rule, so it is not listed."""
    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [
        VisionClass(class_id=number, class_name=name) for number, name in enumerate(class_set.names)
    ]
    message.threshold = 0.0  # every pixel is labelled, whatever the network's confidence
    return message
