"""The node's parameters: what they are, which values they take and when a change takes effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from erf_seg_core.class_sets import ClassSet
from erf_seg_core.errors import ErfSegError

Size = tuple[int, int]

LARGEST_SIDE = 16384
"""Pixels; larger sizes are typing errors that would exhaust the memory."""


class Applies(Enum):
    """When a value is read: later changes need the node to go back through that transition."""

    AT_START = "it is read once, when the node starts"
    ON_CONFIGURE = "deactivate and clean the node up first; it is read in configure"
    ON_ACTIVATE = "deactivate the node first; it is read in activate"
    AT_ONCE = "takes effect with the next frame"


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter. `check` returns why a value of the right type is refused, or None."""

    name: str
    default: Any
    description: str
    applies: Applies
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    constraints: str = ""
    check: Callable[[Any], str | None] = lambda value: None

    def refusal(self, value: Any) -> str | None:
        """Why `value` cannot be taken, as a sentence that names the parameter; None if it can."""
        if self.choices and value not in self.choices:
            reason = f"is not one of {', '.join(self.choices)}"
        elif self.limits and not self.limits[0] <= value <= self.limits[1]:
            reason = f"is not from {self.limits[0]} to {self.limits[1]}"
        else:
            reason = self.check(value)
        shown = list(value) if isinstance(self.default, list) else repr(value)
        return f"{self.name} {shown} {reason}" if reason else None

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows."""
        constraints = self.constraints
        if self.choices:
            constraints = f"one of {', '.join(self.choices)}"
        descriptor = ParameterDescriptor(
            description=f"{self.description} ({self.applies.value})",
            additional_constraints=constraints,
            read_only=self.applies is Applies.AT_START,
        )
        if self.limits and isinstance(self.default, float):
            low, high = self.limits
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.limits:
            low, high = (int(limit) for limit in self.limits)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor


def _model_refusal(value: str) -> str | None:
    # imports PyTorch, which takes seconds that a node waiting for its parameters need not spend
    from erf_seg_core.checkpoint import find_checkpoint

    try:
        find_checkpoint(value)
    except ErfSegError as error:
        return f"cannot be used: {error}"
    return None


def _device_refusal(value: str) -> str | None:
    known = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return None if known else "is not auto, cpu, cuda or cuda:<number>"


def _size_refusal(value: Iterable[int], multiple: int = 1) -> str | None:
    size = list(value)
    if len(size) != 2:
        return "is not [height, width]"
    if size == [0, 0]:
        return None
    if any(side <= 0 or side > LARGEST_SIDE or side % multiple for side in size):
        of = f" and multiples of {multiple}" if multiple > 1 else ""
        return f"must be [0, 0] or two numbers from 1 to {LARGEST_SIDE}{of}"
    return None


SPECS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "autostart",
        True,
        "configure and activate without being asked; false leaves that to a lifecycle manager",
        Applies.AT_START,
    ),
    ParameterSpec(
        "model",
        "dg4",
        "model name (erf_seg models lists them) or path of a checkpoint file",
        Applies.ON_CONFIGURE,
        constraints="a model with shipped weights, or an existing .safetensors file",
        check=_model_refusal,
    ),
    ParameterSpec(
        "device",
        "auto",
        "where the network runs",
        Applies.ON_CONFIGURE,
        constraints="auto, cpu, cuda or cuda:<number>",
        check=_device_refusal,
    ),
    ParameterSpec(
        "engine",
        "auto",
        "what runs the network; auto is the fastest that works here",
        Applies.ON_CONFIGURE,
        choices=("auto", "torch", "onnxruntime", "tensorrt"),
    ),
    ParameterSpec(
        "threads",
        0,
        "CPU threads of the network; 0 is the engine's choice",
        Applies.ON_CONFIGURE,
        limits=(0, 256),
    ),
    ParameterSpec(
        "input_size",
        [0, 0],
        "[height, width] in pixels at which the network runs; [0, 0] is the checkpoint's own",
        Applies.ON_CONFIGURE,
        constraints="[0, 0] or multiples of 8",
        check=lambda value: _size_refusal(value, multiple=8),
    ),
    ParameterSpec(
        "label_size",
        [0, 0],
        "[height, width] in pixels of label and confidence; [0, 0] is the image's own",
        Applies.AT_ONCE,
        constraints="[0, 0] or positive",
        check=_size_refusal,
    ),
    ParameterSpec(
        "transport",
        "raw",
        "raw reads sensor_msgs/Image on image, compressed CompressedImage on image/compressed",
        Applies.ON_ACTIVATE,
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "input_reliability",
        "best_effort",
        "quality of service of the image subscription; best_effort matches every camera",
        Applies.ON_ACTIVATE,
        choices=("best_effort", "reliable"),
    ),
    ParameterSpec(
        "input_depth",
        5,
        "images that the middleware may hold while the node is busy receiving one; "
        "of those received only the newest is labelled, whatever the depth",
        Applies.ON_ACTIVATE,
        limits=(1, 100),
    ),
    ParameterSpec(
        "overlay_alpha",
        0.5,
        "share of the class colours in the overlay, the rest is the image",
        Applies.AT_ONCE,
        limits=(0.0, 1.0),
    ),
    ParameterSpec(
        "stale_after",
        1.0,
        "seconds without an image after which /diagnostics warns",
        Applies.AT_ONCE,
        limits=(0.05, 3600.0),
    ),
)

_SPECS_BY_NAME = {spec.name: spec for spec in SPECS}


@dataclass(frozen=True)
class Settings:
    """The parameters' values in the types that the code wants; None stands for "its own choice"."""

    autostart: bool
    model: str
    device: str
    engine: str
    threads: int | None
    input_size: Size | None
    label_size: Size | None
    transport: str
    input_reliability: str
    input_depth: int
    overlay_alpha: float
    stale_after: float

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """Convert one acceptable value for each of `SPECS`."""
        converted = {spec.name: values[spec.name] for spec in SPECS}
        converted["threads"] = values["threads"] or None
        for name in ("input_size", "label_size"):
            height, width = values[name]
            converted[name] = (height, width) if height else None
        return cls(**converted)


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
