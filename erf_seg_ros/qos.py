"""Quality of service: what the node asks for, what users may override, and whom it cannot hear.

Everything here exists in Humble's rclpy (3.3); only the module of the event callbacks moved.
"""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from .parameters import Settings

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = [
    "SubscriptionEventCallbacks",
    "UnsupportedEventTypeError",
    "forget_overrides",
    "incompatible_publishers",
    "input_qos",
    "latest_qos",
    "output_qos",
    "overridable",
]

_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def overridable() -> QoSOverridingOptions:
    """Let parameters `qos_overrides.<topic>.<subscription or publisher>.<policy>` decide."""
    return QoSOverridingOptions(_OVERRIDABLE)


# Profiles are made anew for each use, because rclpy writes the overrides into them.


def input_qos(settings: Settings) -> QoSProfile:
    """Profile of the image subscriptions, from the `input_…` parameters."""
    return QoSProfile(
        depth=settings.input_depth,
        reliability=ReliabilityPolicy[settings.input_reliability.upper()],
        durability=DurabilityPolicy[settings.input_durability.upper()],
    )


def latest_qos() -> QoSProfile:
    """Profile of a subscription that only wants the newest message, from whatever publisher."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def output_qos() -> QoSProfile:
    """Profile of the outputs: reliable writers serve reliable and best-effort readers alike."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def forget_overrides(node: Node, topic: str, kind: str) -> None:
    """Undeclare the override parameters of a topic's `subscription` or `publisher`.

    rclpy leaves them behind, and the values of the last time would then win over what the node
    asks for the next time. What the user gave at the start is applied again.
    """
    for policy in _OVERRIDABLE:
        name = f"qos_overrides.{topic}.{kind}.{policy.name.lower()}"
        if node.has_parameter(name):
            node.describe_parameter(name).read_only = False  # else rclpy keeps it for ever
            node.undeclare_parameter(name)


def incompatible_publishers(
    node: Node, topic: str, subscription: Subscription, kind: str
) -> list[str]:
    """One sentence for each publisher on the topic that the subscription can never hear.

    `topic` is the name that it was made with: rclpy remaps what it is asked for. `kind` is the
    type that it expects, such as `sensor_msgs/msg/Image`.
    """
    sentences = []
    for publisher in node.get_publishers_info_by_topic(topic):
        name = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
        if "UNKNOWN" in name:  # as rmw says until it knows, and always of DDS without ROS
            name = "a node that is not known"
        if publisher.topic_type != kind:
            sentences.append(f"{name} publishes {publisher.topic_type} and not {kind}")
            continue
        compatibility, reason = qos_check_compatible(
            publisher.qos_profile, subscription.qos_profile
        )
        if compatibility == QoSCompatibility.ERROR:
            sentences.append(f"{name} offers another quality of service: {_in_words(reason)}")
    return sorted(sentences)


def _in_words(reason: str) -> str:
    """Middleware's "ERROR: Best effort publisher and reliable subscription;" as plain text."""
    return reason.replace("ERROR: ", "").rstrip("; ").replace(";", ",").lower()
