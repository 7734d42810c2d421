"""What one camera sends while the node is active: images, calibration, and what is lost of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from .frame_counts import FrameCounter
from .parameters import Settings
from .qos import (
    SubscriptionEventCallbacks,
    UnsupportedEventTypeError,
    forget_overrides,
    incompatible_publishers,
    input_qos,
    latest_qos,
    overridable,
)
from .stamp_gaps import StampGaps
from .topics import camera_info_topic, image_topic

NS_PER_S = 1_000_000_000

IMAGE_TYPES = {
    "raw": (Image, "sensor_msgs/msg/Image"),
    "compressed": (CompressedImage, "sensor_msgs/msg/CompressedImage"),
}
"""Message and its name in ROS, by transport."""


@dataclass(frozen=True)
class Frame:
    """A received message; `arrived` is a reading of `time.perf_counter`, the age may be nan."""

    message: Image | CompressedImage
    arrived: float
    age_ms: float

    def is_older_than(self, seconds: float) -> bool:
        """Whether it was when it arrived; never for an unknown age, or for a limit of 0."""
        return 0.0 < seconds < self.age_ms / 1e3


class CameraInput:
    """Subscriptions of one camera, from construction to `close`."""

    def __init__(
        self,
        node: Node,
        name: str,
        settings: Settings,
        counter: FrameCounter,
        on_frame: Callable[[Frame], None],
        on_info: Callable[[CameraInfo], None],
        group: CallbackGroup | None = None,
    ) -> None:
        """Subscribe. The callbacks run in the executor, in `group`, and must return at once."""
        self._node = node
        self._counter = counter
        self._on_frame = on_frame
        self._group = group
        self._gaps: StampGaps | None = None
        self._kind, self._kind_name = IMAGE_TYPES[settings.transport]
        self._asked_for = image_topic(node, name, settings.transport)
        self._images = self._subscribe_images(self._asked_for, settings)
        try:
            self._infos = node.create_subscription(
                CameraInfo,
                camera_info_topic(node, name, settings.transport),
                on_info,
                latest_qos(),
                callback_group=group,
                qos_overriding_options=overridable(),
            )
        except BaseException:  # nobody could close what was never made
            self._unsubscribe(self._images)
            raise

    @property
    def topic(self) -> str:
        """Fully qualified name of the image topic."""
        return self._images.topic_name

    def incompatible_publishers(self) -> list[str]:
        """One sentence for each publisher of images that is out of reach."""
        return incompatible_publishers(self._node, self._asked_for, self._images, self._kind_name)

    def close(self) -> None:
        """Unsubscribe."""
        self._unsubscribe(self._images)
        self._unsubscribe(self._infos)

    def _unsubscribe(self, subscription: Subscription) -> None:
        topic = subscription.topic_name
        self._node.destroy_subscription(subscription)
        forget_overrides(self._node, topic, "subscription")

    def _subscribe_images(self, topic: str, settings: Settings) -> Subscription:
        def subscribe(events: SubscriptionEventCallbacks) -> Subscription:
            return self._node.create_subscription(
                self._kind,
                topic,
                self._receive,
                input_qos(settings),
                callback_group=self._group,
                event_callbacks=events,
                qos_overriding_options=overridable(),
            )

        try:
            return subscribe(
                SubscriptionEventCallbacks(
                    message_lost=self._on_lost,
                    incompatible_qos=self._on_incompatible,
                )
            )
        except UnsupportedEventTypeError:  # a middleware that does not count what it loses
            self._gaps = StampGaps()
            return subscribe(SubscriptionEventCallbacks())

    def _receive(self, message: Image | CompressedImage) -> None:
        arrived = time.perf_counter()
        stamp = message.header.stamp
        # by hand, because rclpy's Time raises for the negative seconds that a bad driver may send
        stamp_ns = stamp.sec * NS_PER_S + stamp.nanosec
        if self._gaps is not None and (lost := self._gaps.add(stamp_ns)):
            self._counter.lost(lost)
        self._on_frame(Frame(message, arrived, self._age_ms(stamp_ns)))

    def _age_ms(self, stamp_ns: int) -> float:
        now_ns = self._node.get_clock().now().nanoseconds
        if stamp_ns == 0 or now_ns == 0:  # no stamp by the driver; no /clock yet
            return math.nan
        return (now_ns - stamp_ns) / 1e6

    def _on_lost(self, event: object) -> None:
        self._counter.lost(event.total_count_change)

    def _on_incompatible(self, event: object) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        topic = self._node.resolve_topic_name(self._asked_for)
        self._node.get_logger().warning(
            f"a publisher on {topic} offers a quality of service that cannot be received "
            f"({policy}): change it, or the input_… or qos_overrides parameters of this node"
        )
