"""Labels in space: label and registered depth, joined by their stamps, become a point cloud.

    ros2 run erf_seg_ros semantic_cloud_node --ros-args -r depth:=/camera/depth/image_rect

Topics, parameters and what they mean are listed in the README.
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from erf_seg_core.errors import ErfSegError, in_words
from erf_seg_core.image_codec import decode_message
from erf_seg_core.semantic_cloud import CloudBuilder, Semantics
from erf_seg_core.stamp_join import StampJoin

from .answers import answer_always
from .class_colors import ClassColors
from .cloud_health import CloudCounts, CloudHealth, Waiting
from .cloud_messages import cloud_message, located_points, projection_of
from .cloud_parameters import CloudSettings, declare_cloud_parameters
from .diagnostics import diagnostic_name, to_status
from .executor import AsideExecutor
from .messages import image_to_bgr
from .newest_frames import NewestFrames
from .start import init_ros, warn_of_misspelled_parameters
from .stop_signal import StopSignal
from .topics import camera_info_topic, image_topic

NODE_NAME = "semantic_cloud"
LABELS = "segmentation"
"""Relative names of the inputs begin so: beside the segmentation node nothing is to be remapped."""

NS_PER_S = 1_000_000_000
DIAGNOSTICS_PERIOD_S = 1.0
LOG_INTERVAL_S = 5.0
GOODBYE_S = 0.7
SIGNAL_LATENCY_S = 0.1
BAD_PARAMETER_STATUS = 2

# Labels are the segmentation node's, which offers reliable; a megapixel's would get lost else.
LABEL_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
CLOUD_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)  # 22 MB a megapixel
INFO_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

Message = Image | CompressedImage | PointCloud2


class SemanticCloudNode(Node):
    """Joins messages in the executor, makes clouds of them on one worker thread.

    A cloud is made only while somebody subscribes, and only of the newest complete set.
    """

    def __init__(self) -> None:
        """Declare parameters and subscribe; `ErfSegError` for unusable start parameters."""
        super().__init__(NODE_NAME)
        answer_always(self)
        self._settings = declare_cloud_parameters(self)
        warn_of_misspelled_parameters(self)
        self._info: CameraInfo | None = None
        self._builder = CloudBuilder()
        self._counts = CloudCounts()
        self._health = CloudHealth(time.monotonic(), self._settings.stale_after)
        self._points = self.create_publisher(PointCloud2, "~/points", CLOUD_QOS)
        self._topics = self._subscribe(self._settings)
        self._colors = ClassColors(self, self._topics["label"])
        self._join: StampJoin[Message] = StampJoin(
            list(self._topics), round(self._settings.slop * NS_PER_S), self._settings.queue_size
        )
        self._sets: NewestFrames[dict[str, Message]] = NewestFrames([NODE_NAME])
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Not ROS time: a paused /clock is no reason to fall silent.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._every_second, clock=steady)
        self._worker = threading.Thread(target=self._work, name="clouds", daemon=True)
        self._worker.start()
        self.get_logger().info(f"joining {', '.join(self._topics.values())}")

    def finish(self) -> None:
        """End the worker; the cloud in hand may still go out."""
        self._sets.close()
        self._worker.join(GOODBYE_S)

    def _subscribe(self, settings: CloudSettings) -> dict[str, str]:
        """Topics by stream, the label's first."""
        reliability = ReliabilityPolicy[settings.input_reliability.upper()]
        camera_qos = QoSProfile(depth=settings.input_depth, reliability=reliability)
        inputs = {"label": (Image, f"{LABELS}/label", LABEL_QOS)}
        if settings.confidence:
            inputs["confidence"] = (Image, f"{LABELS}/confidence", LABEL_QOS)
        if settings.geometry == "depth":
            inputs["depth"] = (Image, "depth", camera_qos)
            info_topic = camera_info_topic(self, "", "raw", image="depth")
            self.create_subscription(CameraInfo, info_topic, self._keep_info, INFO_QOS)
        else:
            inputs["points"] = (PointCloud2, "points", camera_qos)
        if settings.color == "image":
            kind = CompressedImage if settings.transport == "compressed" else Image
            inputs["image"] = (kind, image_topic(self, "", settings.transport), camera_qos)
        return {
            stream: self.create_subscription(
                kind, topic, partial(self._receive, stream), qos
            ).topic_name
            for stream, (kind, topic, qos) in inputs.items()
        }

    def _keep_info(self, info: CameraInfo) -> None:
        self._info = info

    def _receive(self, stream: str, message: Message) -> None:
        counts, stamp = self._counts, message.header.stamp
        counts.received[stream] = counts.received.get(stream, 0) + 1
        complete = self._join.add(stream, stamp.sec * NS_PER_S + stamp.nanosec, message)
        if complete:
            counts.joined += 1
            counts.dropped += self._sets.put(NODE_NAME, complete)

    def _work(self) -> None:
        while not self._sets.closed:
            for messages in self._sets.take().values():
                self._handle(messages)

    def _handle(self, messages: dict[str, Message]) -> None:
        """Make and publish one cloud; whatever goes wrong concerns this set only."""
        counts = self._counts
        if not self._points.get_subscription_count():
            counts.unwanted += 1
            return
        started = time.perf_counter()
        try:
            self._points.publish(self._cloud(messages))
        except Exception as error:  # a message must never end the node, however it is broken
            counts.last_refusal = in_words(error)
            counts.refused += 1
            self.get_logger().warning(
                f"labels without a cloud: {counts.last_refusal}",
                throttle_duration_sec=LOG_INTERVAL_S,
            )
            return
        counts.cloud_ms = (time.perf_counter() - started) * 1e3
        counts.clouds += 1

    def _cloud(self, messages: dict[str, Message]) -> PointCloud2:
        semantics = self._semantics(messages)
        if (located := messages.get("points")) is not None:
            data = self._builder.from_points(located_points(located), semantics)
        else:
            located = messages["depth"]
            depth = _depth(located)
            if self._info is None:
                raise ErfSegError(
                    f"no camera_info has come beside {self._topics['depth']} yet; remap camera_info"
                )
            projection = projection_of(self._info, depth.shape)
            data = self._builder.from_depth(depth, projection, semantics)
        header = Header(stamp=messages["label"].header.stamp, frame_id=located.header.frame_id)
        return cloud_message(header, semantics.labels.shape, data)

    def _semantics(self, messages: dict[str, Message]) -> Semantics:
        image, confidence = messages.get("image"), messages.get("confidence")
        return Semantics(
            labels=_bytes_of(messages["label"], "label"),
            colors=self._colors.palette if image is None else image_to_bgr(image),
            confidence=None if confidence is None else _bytes_of(confidence, "confidence"),
        )

    def _every_second(self) -> None:
        self._colors.refresh()
        self._counts.unmatched = self._join.unmatched
        others = [stream for stream in self._topics if stream != "label"]
        gaps = {stream: self._join.gap_ns(stream) for stream in others}
        gaps_ms = {s: None if gap is None else gap / 1e6 for s, gap in gaps.items()}
        verdict = self._health.judge(time.monotonic(), self._counts, Waiting(self._topics, gaps_ms))
        verdict.values["colors_of"] = self._colors.source
        name = diagnostic_name(self.get_namespace(), self.get_name(), "cloud")
        message = DiagnosticArray(status=[to_status(verdict, name, self._topics["label"])])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _bytes_of(message: Image, what: str) -> np.ndarray:
    """H×W uint8 of a label or confidence image."""
    values = decode_message(message)
    if values.dtype != np.uint8 or values.ndim != 2:
        raise ErfSegError(f"the {what} image is {message.encoding}, it must be mono8")
    return values


def _depth(message: Image) -> np.ndarray:
    """H×W uint16 (mm) or float32 (m), by REP-118."""
    values = decode_message(message)
    if values.dtype not in (np.uint16, np.float32):
        raise ErfSegError(
            f"the depth image is {message.encoding}, it must be 16UC1 (mm) or 32FC1 (m)"
        )
    return values


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM; the exit status is 0, or 2 for bad arguments."""
    stop = StopSignal()
    stop.install()
    if not init_ros(args, NODE_NAME):
        return BAD_PARAMETER_STATUS
    try:
        return _run(stop)
    finally:
        rclpy.try_shutdown()


def _run(stop: StopSignal) -> int:
    try:
        node = SemanticCloudNode()
    except (ParameterException, ErfSegError) as error:
        get_logger(NODE_NAME).fatal(f"cannot start: {error}")
        return BAD_PARAMETER_STATUS
    executor = AsideExecutor()
    executor.add_node(node)
    while rclpy.ok() and not stop.raised:
        executor.spin_once(timeout_sec=SIGNAL_LATENCY_S)
    executor.shutdown()
    node.finish()
    node.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
