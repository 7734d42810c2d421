"""Labels in space: label and registered depth, joined by their stamps, become a point cloud.

    ros2 run erf_seg_ros semantic_cloud_node --ros-args -r depth:=/camera/depth/image_rect

Topics, parameters and what they mean are listed in the README.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from erf_seg_core.errors import ErfSegError, in_words
from erf_seg_core.image_codec import decode_message
from erf_seg_core.semantic_cloud import CloudBuilder, Semantics
from erf_seg_core.stamp_join import StampJoin

from .answers import answer_always
from .class_colors import ClassColors
from .cloud_health import CloudCounts, CloudHealth, Waiting
from .cloud_inputs import LABEL, NS_PER_S, CloudInputs, Message
from .cloud_messages import cloud_message, located_points, projection_of
from .cloud_parameters import declare_cloud_parameters
from .diagnostics import diagnostic_name, to_status
from .executor import AsideExecutor
from .messages import image_to_bgr
from .newest_frames import NewestFrames
from .qos import latest_qos, overridable
from .start import init_ros, warn_of_misspelled_parameters
from .stop_signal import StopSignal
from .topics import camera_info_topic

NODE_NAME = "semantic_cloud"

BYTES_PER_MB = 1_000_000
DIAGNOSTICS_PERIOD_S = 1.0
DEMAND_PERIOD_S = 0.2
"""How often to look for subscribers; Humble's rclpy has no event of their coming and going."""

LOG_INTERVAL_S = 5.0
GOODBYE_S = 0.7
SIGNAL_LATENCY_S = 0.1
BAD_PARAMETER_STATUS = 2


class SemanticCloudNode(Node):
    """Joins messages in the executor, makes clouds of them on one worker thread.

    Only while somebody subscribes it hears its inputs, but for `camera_info`, which may come only
    once. A cloud is made only of the newest complete set.
    """

    def __init__(self) -> None:
        """Declare parameters and topics; raises for unusable start parameters."""
        super().__init__(NODE_NAME)
        answer_always(self)
        settings = declare_cloud_parameters(self)
        warn_of_misspelled_parameters(self)
        self._info: CameraInfo | None = None
        self._builder = CloudBuilder()
        self._counts = CloudCounts()
        self._health = CloudHealth(time.monotonic(), settings.stale_after)
        self._points = self.create_publisher(
            PointCloud2, "~/points", _cloud_qos(), qos_overriding_options=overridable()
        )
        self._inputs = CloudInputs(self, settings, self._receive)
        self._topics = self._inputs.topics
        if "depth" in self._topics:
            self._subscribe_info()
        self._inputs.open()  # an override that cannot be is told now, not to the first subscriber
        self._inputs.close()
        self._wanted_since: float | None = None
        self._colors = ClassColors(self, LABEL)
        self._join: StampJoin[Message] = StampJoin(
            self._inputs.slops_ns, settings.queue_size, settings.queue_mb * BYTES_PER_MB
        )
        self._sets: NewestFrames[dict[str, Message]] = NewestFrames([NODE_NAME])
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Not ROS time: a paused /clock is no reason to fall silent.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._every_second, clock=steady)
        self.create_timer(DEMAND_PERIOD_S, self._follow_demand, clock=steady)
        self._worker = threading.Thread(target=self._work, name="clouds", daemon=True)
        self._worker.start()
        self.get_logger().info(f"joins {', '.join(self._topics.values())} for whoever subscribes")

    def finish(self) -> None:
        """End the worker; the cloud in hand may still go out."""
        self._sets.close()
        self._worker.join(GOODBYE_S)

    def _subscribe_info(self) -> None:
        """Hear the calibration, all the time: it is small, and a driver may send it only once."""
        topic = camera_info_topic(self, "", "raw", image="depth")
        self.create_subscription(
            CameraInfo, topic, self._keep_info, latest_qos(), qos_overriding_options=overridable()
        )

    def _keep_info(self, info: CameraInfo) -> None:
        self._info = info

    def _follow_demand(self) -> None:
        """Hear the inputs while somebody subscribes to the clouds, else forget what waits."""
        wanted = self._points.get_subscription_count() > 0
        if wanted == self._inputs.is_open:
            return
        if wanted:
            self._wanted_since = time.monotonic()
            self._inputs.open()
        else:
            self._wanted_since = None
            self._inputs.close()
            self._join.clear()

    def _receive(self, stream: str, message: Message) -> None:
        counts, stamp = self._counts, message.header.stamp
        counts.received[stream] = counts.received.get(stream, 0) + 1
        stamp_ns = stamp.sec * NS_PER_S + stamp.nanosec
        complete = self._join.add(stream, stamp_ns, message, len(message.data))
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
        waiting = Waiting(self._topics, gaps_ms, self._wanted_since)
        verdict = self._health.judge(time.monotonic(), self._counts, waiting)
        verdict.values["colors_of"] = self._colors.source
        name = diagnostic_name(self.get_namespace(), self.get_name(), "cloud")
        message = DiagnosticArray(status=[to_status(verdict, name, self._topics["label"])])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _cloud_qos() -> QoSProfile:
    """As the labels'; few of them, for a megapixel has 22 MB."""
    return QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)


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
    except (ParameterException, ErfSegError, RuntimeError) as error:  # the last for qos_overrides
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
