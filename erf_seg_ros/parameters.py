"""The node's parameters as the code reads them: declared, checked, converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from erf_seg_core.class_sets import ClassSet
from erf_seg_core.errors import ErfSegError

from .parameter_specs import SPECS, Applies

Size = tuple[int, int]

_SPECS_BY_NAME = {spec.name: spec for spec in SPECS}

NAMES = frozenset(_SPECS_BY_NAME)
"""All of them; a node has others, which are rclpy's."""


@dataclass(frozen=True)
class Settings:
    """The parameters' values in the types that the code wants; None stands for "its own choice"."""

    autostart: bool
    model: str
    device: str
    engine: str
    precision: str
    threads: int | None
    input_size: Size | None
    class_map: str | None
    confidence_threshold: float
    fallback: str
    label_size: Size | None
    cameras: tuple[str, ...]
    transport: str
    input_reliability: str
    input_durability: str
    input_depth: int
    overlay_alpha: float
    max_age: float
    stale_after: float
    bad_image_after: float
    bond_heartbeat_period: float

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """Convert one acceptable value for each of `SPECS`."""
        converted = {spec.name: values[spec.name] for spec in SPECS}
        converted["threads"] = values["threads"] or None
        converted["class_map"] = values["class_map"] or None
        # an empty list in a parameter file reaches rclpy as no value
        converted["cameras"] = tuple(values["cameras"] or [""])
        for name in ("input_size", "label_size"):
            height, width = values[name]
            converted[name] = (height, width) if height else None
        return cls(**converted)

    def network_options(self) -> dict[str, Any]:
        """Arguments of `load_segmenter`: what an exchange of the network is about."""
        names = (spec.name for spec in SPECS if spec.applies is Applies.BY_EXCHANGE)
        return {name: getattr(self, name) for name in names}


def declare_parameters(node: Node) -> None:
    """Declare all of `SPECS`.

    rclpy raises for values given at the start that have the wrong type or leave their range; other
    bad ones are refused in `read_settings`, so that the node comes up and can be told better.
    """
    for spec in SPECS:
        node.declare_parameter(spec.name, spec.default, spec.descriptor())


def parameter_values(node: Node) -> dict[str, Any]:
    """Values of all of `SPECS` at this moment."""
    return {spec.name: node.get_parameter(spec.name).value for spec in SPECS}


def read_settings(node: Node) -> Settings:
    """Check and convert the current values; `ErfSegError` lists those given badly at the start."""
    values = parameter_values(node)
    refusals = [refusal for spec in SPECS if (refusal := spec.refusal(values[spec.name]))]
    if refusals:
        raise ErfSegError("; ".join(refusals))
    return Settings.from_values(values)


def change_refusal(name: str, old: Any, new: Any, in_use: set[Applies]) -> str | None:
    """Why parameter `name` cannot change from `old` to `new` now, or None.

    `in_use` says which values the node works with at this moment and so cannot exchange.
    Parameters that are not in `SPECS` (use_sim_time, …) are not ours to refuse.
    """
    spec = _SPECS_BY_NAME.get(name)
    if spec is None or _plain(old) == _plain(new):
        return None
    if spec.applies in in_use:
        return f"{name} cannot change now: {spec.applies.value}"
    return spec.refusal(new)


def concerns_network(names: Iterable[str]) -> bool:
    """Whether one of these parameters is an argument of `load_segmenter`."""
    specs = (_SPECS_BY_NAME.get(name) for name in names)
    return any(spec is not None and spec.applies is Applies.BY_EXCHANGE for spec in specs)


def declare_class_parameters(node: Node, class_set: ClassSet) -> None:
    """Show names and colours (#rrggbb) of the labels, position by id, as read-only parameters."""
    colors = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in class_set.colors]
    for name, value, what in (
        ("class_names", list(class_set.names), "names"),
        ("class_colors", colors, "colours as #rrggbb"),
    ):
        descriptor = ParameterDescriptor(
            description=f"{what} of the labels, by id; 255 is void and not listed", read_only=True
        )
        node.declare_parameter(name, value, descriptor, ignore_override=True)


def undeclare_class_parameters(node: Node) -> None:
    """Take them back, for the next model may have other classes."""
    for name in ("class_names", "class_colors"):
        if node.has_parameter(name):
            node.describe_parameter(name).read_only = False  # else rclpy keeps it for ever
            node.undeclare_parameter(name)


def _plain(value: Any) -> Any:
    """Arrays of different kinds compare by their elements."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
