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


def label_info_publisher(node: Node, topic: str) -> Publisher | None:
    """Latching publisher of the class map; None where vision_msgs is not installed.

    The last message stays available to late subscribers until the publisher is destroyed.
    """
    return None if LabelInfo is None else node.create_publisher(LabelInfo, topic, LATCHED)


def label_info_message(class_set: ClassSet, threshold: float, stamp: Time) -> Any:
    """`LabelInfo` of a class set; below the confidence `threshold`, 0 to 1, labels are void.

    255 means void by the message's own rule, so it is not listed.
    """
    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [
        VisionClass(class_id=number, class_name=name) for number, name in class_set.used().items()
    ]
    message.threshold = threshold
    return message
