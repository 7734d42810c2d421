"""What the cloud node joins: its topics, subscribed to while somebody wants clouds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from .cloud_parameters import CloudSettings
from .qos import forget_overrides, overridable
from .topics import image_topic

LABEL = "segmentation/label"
CONFIDENCE = "segmentation/confidence"
"""Relative names, so that beside the segmentation node nothing is to be remapped."""

NS_PER_S = 1_000_000_000

Message = Image | CompressedImage | PointCloud2


@dataclass(frozen=True)
class _Source:
    """One input; `qos` makes a profile anew, because rclpy writes the overrides into it.

    Stamps may differ from the label's by `slop` seconds.
    """

    kind: type
    topic: str
    qos: Callable[[], QoSProfile]
    slop: float = 0.0


class CloudInputs:
    """Subscriptions from `open` to `close`, as often as wanted.

    While nobody listens to the clouds there must be none: the segmentation node computes the
    confidence for whoever subscribes to it.
    """

    def __init__(
        self, node: Node, settings: CloudSettings, on_message: Callable[[str, Message], None]
    ) -> None:
        """Only look up the topics. `on_message` is told the stream, and must return at once."""
        self._node = node
        self._on_message = on_message
        self._sources = _sources(node, settings)
        self._subscriptions: list[Subscription] = []
        self.topics = {
            stream: node.resolve_topic_name(source.topic)
            for stream, source in self._sources.items()
        }
        """Fully qualified names by stream, the label's first."""
        self.slops_ns = {
            stream: round(source.slop * NS_PER_S) for stream, source in self._sources.items()
        }
        """How far stamps may be from the label's, by stream."""

    @property
    def is_open(self) -> bool:
        """Whether the node hears its inputs."""
        return bool(self._subscriptions)

    def open(self) -> None:
        """Subscribe to all; raises for an unusable `qos_overrides` parameter."""
        for stream, source in self._sources.items():
            subscription = self._node.create_subscription(
                source.kind,
                source.topic,
                partial(self._on_message, stream),
                source.qos(),
                qos_overriding_options=overridable(),
            )
            self._subscriptions.append(subscription)

    def close(self) -> None:
        """Unsubscribe from all."""
        for subscription in self._subscriptions:
            topic = subscription.topic_name
            self._node.destroy_subscription(subscription)
            forget_overrides(self._node, topic, "subscription")
        self._subscriptions = []


def _sources(node: Node, settings: CloudSettings) -> dict[str, _Source]:
    """Inputs by stream, the label's first.

    The labelled image and the confidence have the label's stamp, whatever the camera does.
    """
    camera_qos = partial(_camera_qos, settings)
    sources = {"label": _Source(Image, LABEL, _label_qos)}
    if settings.confidence:
        sources["confidence"] = _Source(Image, CONFIDENCE, _label_qos)
    if settings.geometry == "depth":
        sources["depth"] = _Source(Image, "depth", camera_qos, settings.slop)
    else:
        sources["points"] = _Source(PointCloud2, "points", camera_qos, settings.slop)
    if settings.color == "image":
        kind = CompressedImage if settings.transport == "compressed" else Image
        topic = image_topic(node, "", settings.transport)
        sources["image"] = _Source(kind, topic, camera_qos)
    return sources


def _label_qos() -> QoSProfile:
    """Labels are the segmentation node's, which offers reliable; large ones would get lost else."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def _camera_qos(settings: CloudSettings) -> QoSProfile:
    reliability = ReliabilityPolicy[settings.input_reliability.upper()]
    return QoSProfile(depth=settings.input_depth, reliability=reliability)
