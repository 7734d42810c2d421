"""Topic names of one camera, following the conventions of image_transport."""

from __future__ import annotations

from rclpy.node import Node


def image_topic(node: Node, camera: str, transport: str) -> str:
    """Fully qualified image topic: `image` or `<camera>/image`, remapped, plus the transport.

    As with image_transport, remapping `image` moves `image/compressed` along. A topic that
    already ends in the transport is taken as it is.
    """
    base = _base_topic(node, camera, transport)
    return base if transport == "raw" else f"{base}/{transport}"


def camera_info_topic(node: Node, camera: str, transport: str, image: str = "image") -> str:
    """Fully qualified `camera_info`: where it was remapped to, else the image topic's sibling."""
    name = _input(camera, "camera_info")
    remapped = node.resolve_topic_name(name)
    if remapped != node.resolve_topic_name(name, only_expand=True):
        return remapped
    folder, _, _ = _base_topic(node, camera, transport, image).rpartition("/")
    return f"{folder}/camera_info"


def output_topic(camera: str, name: str) -> str:
    """Private output topic: `~/label` or `~/<camera>/label`."""
    return f"~/{_input(camera, name)}"


def _base_topic(node: Node, camera: str, transport: str, image: str = "image") -> str:
    topic = node.resolve_topic_name(_input(camera, image))
    return topic if transport == "raw" else topic.removesuffix(f"/{transport}")


def _input(camera: str, name: str) -> str:
    return f"{camera}/{name}" if camera else name
