"""One camera's side of the node: what it subscribes to and what it publishes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from erf_seg_core.class_sets import ClassSet

from .camera_info import scaled_camera_info
from .frame_counts import FrameCounter
from .label_info import publish_label_info
from .messages import bgr8_message, mono8_message
from .parameters import Settings
from .topics import camera_info_topic, image_topic, output_topic

NS_PER_S = 1_000_000_000

OUTPUT_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable writers serve reliable and best-effort readers alike."""


@dataclass(frozen=True)
class Frame:
    """A received message; `arrived` is a reading of `time.perf_counter`, the age may be nan."""

    message: Image | CompressedImage
    arrived: float
    age_ms: float


class Camera:
    """Subscriptions and publishers of one camera; the empty name is a node's only camera.

    Publishers live as long as this object, subscriptions from `open` to `close`.
    """

    def __init__(self, node: Node, name: str, class_set: ClassSet) -> None:
        """Create the publishers and latch what the labels mean."""
        self.name = name
        self.counter = FrameCounter()
        self.topic = image_topic(node, name, "raw")
        self._node = node
        self._info: CameraInfo | None = None
        self._subscriptions: list[Subscription] = []
        self._label = self._publisher(Image, "label")
        self._confidence = self._publisher(Image, "confidence")
        self._overlay = self._publisher(Image, "overlay")
        self._camera_info = self._publisher(CameraInfo, "camera_info")
        self._timing = self._publisher(DiagnosticArray, "timing")
        self._label_info = publish_label_info(
            node, output_topic(name, "label_info"), class_set, node.get_clock().now().to_msg()
        )

    def open(self, settings: Settings, on_frame: Callable[[Camera, Frame], None]) -> None:
        """Subscribe. `on_frame` runs in the executor and must return at once."""

        def receive(message: Image | CompressedImage) -> None:
            arrived = time.perf_counter()
            on_frame(self, Frame(message, arrived, self._age_ms(message.header)))

        self._info = None
        self.topic = image_topic(self._node, self.name, settings.transport)
        kind = CompressedImage if settings.transport == "compressed" else Image
        reliability = ReliabilityPolicy[settings.input_reliability.upper()]
        qos = QoSProfile(depth=settings.input_depth, reliability=reliability)
        info_topic = camera_info_topic(self._node, self.name, settings.transport)
        info_qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions = [
            self._node.create_subscription(kind, self.topic, receive, qos),
            self._node.create_subscription(CameraInfo, info_topic, self._keep_info, info_qos),
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def destroy(self) -> None:
        """Unsubscribe and take the topics back."""
        self.close()
        publishers = (
            self._label,
            self._confidence,
            self._overlay,
            self._camera_info,
            self._timing,
            self._label_info,
        )
        for publisher in filter(None, publishers):
            self._node.destroy_publisher(publisher)

    def wants_confidence(self) -> bool:
        """Whether anybody listens to `~/confidence`."""
        return self._confidence.get_subscription_count() > 0

    def wants_overlay(self) -> bool:
        """Whether anybody listens to `~/overlay`."""
        return self._overlay.get_subscription_count() > 0

    def publish_label(self, header: Header, labels: np.ndarray) -> None:
        """Publish H×W uint8 class ids, and the calibration of a camera that sees like them."""
        self._label.publish(mono8_message(header, labels))
        if self._info is not None:
            height, width = labels.shape
            self._camera_info.publish(scaled_camera_info(self._info, header, (height, width)))

    def publish_confidence(self, header: Header, confidence: np.ndarray) -> None:
        """Publish H×W uint8, 255 for certainty."""
        self._confidence.publish(mono8_message(header, confidence))

    def publish_overlay(self, header: Header, overlay: np.ndarray) -> None:
        """Publish H×W×3 uint8 BGR."""
        self._overlay.publish(bgr8_message(header, overlay))

    def publish_timing(self, timing: DiagnosticArray) -> None:
        """Publish what one frame took."""
        self._timing.publish(timing)

    def _keep_info(self, info: CameraInfo) -> None:
        self._info = info

    def _age_ms(self, header: Header) -> float:
        # by hand, because rclpy's Time raises for the negative seconds that a bad driver may send
        stamp_ns = header.stamp.sec * NS_PER_S + header.stamp.nanosec
        now_ns = self._node.get_clock().now().nanoseconds
        if stamp_ns == 0 or now_ns == 0:  # no stamp by the driver; no /clock yet
            return math.nan
        return (now_ns - stamp_ns) / 1e6

    def _publisher(self, kind: type, name: str) -> Publisher:
        return self._node.create_publisher(kind, output_topic(self.name, name), OUTPUT_QOS)
