"""One camera's side of the node: what it subscribes to and what it publishes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from erf_seg_core.class_sets import ClassSet

from .camera_info import scaled_camera_info
from .camera_input import CameraInput, Frame
from .frame_counts import FrameCounter
from .image_checks import ImageChecks
from .label_info import label_info_message, label_info_publisher
from .messages import bgr8_message, mono8_message
from .parameters import Settings
from .qos import forget_overrides, output_qos, overridable
from .topics import camera_info_topic, image_topic, output_topic


class Camera:
    """Subscriptions and publishers of one camera; the empty name is a node's only camera.

    Publishers live as long as this object, subscriptions from `open` to `close`.
    """

    def __init__(self, node: Node, name: str) -> None:
        """Create the publishers."""
        self.name = name
        self.counter = FrameCounter()
        self.checks = ImageChecks()
        self.topic = image_topic(node, name, "raw")
        self._node = node
        self._input: CameraInput | None = None
        self._info: CameraInfo | None = None
        self._info_topic = ""
        self._publishers: list[Publisher] = []
        try:
            self._label = self._publisher(Image, "label")
            self._confidence = self._publisher(Image, "confidence")
            self._overlay = self._publisher(Image, "overlay")
            self._camera_info = self._publisher(CameraInfo, "camera_info")
            self._timing = self._publisher(DiagnosticArray, "timing")
            self._label_info = label_info_publisher(node, output_topic(name, "label_info"))
        except Exception:  # an unusable qos_overrides parameter
            self.destroy()
            raise
        if self._label_info is not None:
            self._publishers.append(self._label_info)

    def announce(self, class_set: ClassSet, threshold: float) -> None:
        """Latch what the labels mean from now on, and their least confidence, 0 to 1."""
        if self._label_info is not None:
            stamp = self._node.get_clock().now().to_msg()
            self._label_info.publish(label_info_message(class_set, threshold, stamp))

    def open(
        self,
        settings: Settings,
        on_frame: Callable[[Camera, Frame], None],
        group: CallbackGroup | None = None,
    ) -> None:
        """Subscribe. `on_frame` runs in the executor, in `group`, and must return at once."""
        self.checks = ImageChecks()
        self._expect_info(camera_info_topic(self._node, self.name, settings.transport))
        self._input = CameraInput(
            self._node,
            self.name,
            settings,
            self.counter,
            on_frame=lambda frame: on_frame(self, frame),
            on_info=self._keep_info,
            group=group,
        )
        self.topic = self._input.topic

    def close(self) -> None:
        """Unsubscribe."""
        source, self._input = self._input, None
        if source is not None:
            source.close()

    def destroy(self) -> None:
        """Unsubscribe and take the topics back."""
        self.close()
        for publisher in self._publishers:
            topic = publisher.topic_name
            self._node.destroy_publisher(publisher)
            forget_overrides(self._node, topic, "publisher")
        self._publishers = []

    def incompatible_publishers(self) -> list[str]:
        """One sentence for each publisher of images that cannot be heard."""
        source = self._input  # asked by another thread than the one that closes it
        return source.incompatible_publishers() if source is not None else []

    def wants_confidence(self) -> bool:
        """Whether anybody listens to `~/confidence`."""
        return self._confidence.get_subscription_count() > 0

    def wants_overlay(self) -> bool:
        """Whether anybody listens to `~/overlay`."""
        return self._overlay.get_subscription_count() > 0

    def publish_label(self, header: Header, labels: np.ndarray) -> None:
        """Publish H×W uint8 class ids."""
        self._label.publish(mono8_message(header, labels))

    def publish_camera_info(self, header: Header, size: tuple[int, int]) -> None:
        """Publish the calibration of a camera that sees pictures of (height, width), if known."""
        info = self._info  # comes in another thread
        if info is not None:
            self._camera_info.publish(scaled_camera_info(info, header, size))

    def publish_confidence(self, header: Header, confidence: np.ndarray) -> None:
        """Publish H×W uint8, 255 for certainty."""
        self._confidence.publish(mono8_message(header, confidence))

    def publish_overlay(self, header: Header, overlay: np.ndarray) -> None:
        """Publish H×W×3 uint8 BGR."""
        self._overlay.publish(bgr8_message(header, overlay))

    def publish_timing(self, timing: DiagnosticArray) -> None:
        """Publish what one frame took."""
        self._timing.publish(timing)

    def _expect_info(self, topic: str) -> None:
        """Forget another topic's calibration; a driver may send that of this one only once."""
        if topic != self._info_topic:
            self._info, self._info_topic = None, topic

    def _keep_info(self, info: CameraInfo) -> None:
        self._info = info

    def _publisher(self, kind: type, name: str) -> Publisher:
        publisher = self._node.create_publisher(
            kind,
            output_topic(self.name, name),
            output_qos(),
            qos_overriding_options=overridable(),
        )
        self._publishers.append(publisher)
        return publisher


def make_cameras(node: Node, names: Sequence[str]) -> list[Camera]:
    """One camera for each name; all or, where one cannot be made, none."""
    cameras: list[Camera] = []
    try:
        for name in names:
            cameras.append(Camera(node, name))
    except Exception:
        for camera in cameras:
            camera.destroy()
        raise
    return cameras
