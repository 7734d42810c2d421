"""Topic names of one camera, following the conventions of image_transport.

Inputs are named as subscriptions want them: rcl applies the remapping rules to whatever name a
subscription is given, so one that is remapped here already would be remapped twice. Two cameras
that are swapped by rules would be swapped back.
"""

from __future__ import annotations

from rclpy.node import Node

from erf_seg_core.errors import ErfSegError


def image_topic(node: Node, camera: str, transport: str) -> str:
    """Image topic to subscribe to: `image` or `<camera>/image`, plus the transport.

    As with image_transport, remapping `image` moves `image/compressed` along, unless that is
    remapped itself. A topic that already ends in the transport is taken as it is. `ErfSegError`
    where no name would lead there.
    """
    image = _input(camera, "image")
    if transport == "raw":
        return image
    packed = f"{image}/{transport}"
    if _is_remapped(node, packed) or not _is_remapped(node, image):
        return packed
    return _beyond_the_rules(node, f"{_base_topic(node, image, transport)}/{transport}", packed)


def camera_info_topic(node: Node, camera: str, transport: str, image: str = "image") -> str:
    """Calibration topic to subscribe to: where it was remapped to, else the image's sibling.

    `ErfSegError` where no name would lead there.
    """
    name = _input(camera, "camera_info")
    if _is_remapped(node, name):
        return name
    folder, _, _ = _base_topic(node, _input(camera, image), transport).rpartition("/")
    return _beyond_the_rules(node, f"{folder}/camera_info", name)


def output_topic(camera: str, name: str) -> str:
    """Private output topic: `~/label` or `~/<camera>/label`."""
    return f"~/{_input(camera, name)}"


def _base_topic(node: Node, image: str, transport: str) -> str:
    """Full name of what the image topic would be called without its transport."""
    if transport == "raw":
        return node.resolve_topic_name(image)
    packed = f"{image}/{transport}"
    source = packed if _is_remapped(node, packed) else image
    return node.resolve_topic_name(source).removesuffix(f"/{transport}")


def _is_remapped(node: Node, name: str) -> bool:
    return node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True)


def _beyond_the_rules(node: Node, topic: str, name: str) -> str:
    """Return `topic`, a remapped full name, if no further rule would lead elsewhere from there."""
    if (elsewhere := node.resolve_topic_name(topic)) != topic:
        raise ErfSegError(
            f"{name} is to be {topic}, but a remapping leads from there to {elsewhere}: "
            f"remap {name} itself"
        )
    return topic


def _input(camera: str, name: str) -> str:
    return f"{camera}/{name}" if camera else name
