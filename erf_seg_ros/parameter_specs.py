"""The table of the node's parameters: which values they take, and when a change takes effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from erf_seg_core.errors import ErfSegError, is_file

LARGEST_SIDE = 16384
"""Pixels; larger sizes are typing errors that would exhaust the memory."""


class Applies(Enum):
    """When a value is read: later changes need the node to go back through that transition."""

    AT_START = "it is read once, when the node starts"
    ON_CONFIGURE = "deactivate and clean the node up first; it is read in configure"
    ON_ACTIVATE = "deactivate the node first; it is read in activate"
    BY_EXCHANGE = (
        "while configured, the new network is loaded beside the one in use, or refused if it cannot"
    )
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
        shown = list(value or []) if isinstance(self.default, list) else repr(value)
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


def _class_map_refusal(value: str) -> str | None:
    try:
        return None if not value or is_file(Path(value)) else "is no file"
    except ErfSegError as error:
        return f"cannot be used: {error}"


def _device_refusal(value: str) -> str | None:
    known = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return None if known else "is not auto, cpu, cuda or cuda:<number>"


def _size_refusal(value: Iterable[int], multiple: int = 1) -> str | None:
    size = list(value or [])
    if len(size) != 2:
        return "is not [height, width]"
    if size == [0, 0]:
        return None
    if any(side <= 0 or side > LARGEST_SIDE or side % multiple for side in size):
        of = f" and multiples of {multiple}" if multiple > 1 else ""
        return f"must be [0, 0] or two numbers from 1 to {LARGEST_SIDE}{of}"
    return None


def _cameras_refusal(value: Iterable[str] | None) -> str | None:
    names = list(value or [""])
    if names == [""]:
        return None
    for name in names:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*", name):
            return (
                f"has the name {name!r}: letters, digits and _ (a letter first) make a name, "
                "since it becomes part of topics"
            )
    repeated = sorted({name for name in names if names.count(name) > 1})
    return f"names {', '.join(repeated)} more than once" if repeated else None


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
        Applies.BY_EXCHANGE,
        constraints="a model with shipped weights, or an existing .safetensors file",
        check=_model_refusal,
    ),
    ParameterSpec(
        "device",
        "auto",
        "where the network runs",
        Applies.BY_EXCHANGE,
        constraints="auto, cpu, cuda or cuda:<number>",
        check=_device_refusal,
    ),
    ParameterSpec(
        "engine",
        "auto",
        "what runs the network; auto is the fastest that works here",
        Applies.BY_EXCHANGE,
        choices=("auto", "torch", "onnxruntime", "tensorrt"),
    ),
    ParameterSpec(
        "precision",
        "auto",
        "numbers the network computes with; int8 needs `erf_seg quantize` first, fp16 a GPU",
        Applies.BY_EXCHANGE,
        choices=("auto", "fp32", "fp16", "int8"),
    ),
    ParameterSpec(
        "threads",
        0,
        "CPU threads of the network; 0 is the engine's choice",
        Applies.BY_EXCHANGE,
        limits=(0, 256),
    ),
    ParameterSpec(
        "input_size",
        [0, 0],
        "[height, width] in pixels at which the network runs; [0, 0] is the checkpoint's own",
        Applies.BY_EXCHANGE,
        constraints="[0, 0] or multiples of 8",
        check=lambda value: _size_refusal(value, multiple=8),
    ),
    ParameterSpec(
        "class_map",
        "",
        "YAML file that renames, renumbers or merges the network's classes; empty: none",
        Applies.BY_EXCHANGE,
        constraints="empty, or an existing file",
        check=_class_map_refusal,
    ),
    ParameterSpec(
        "confidence_threshold",
        0.0,
        "pixels whose label has a lower probability become void, 255; above 0 it costs what "
        "confidence costs",
        Applies.AT_ONCE,
        limits=(0.0, 1.0),
    ),
    ParameterSpec(
        "fallback",
        "none",
        "where the network goes on if its device fails and does not come back at once",
        Applies.AT_ONCE,
        choices=("none", "cpu"),
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
        "cameras",
        [""],
        "names of the cameras: front makes front/image and front/camera_info the inputs and "
        "~/front/label, … the outputs; none: a single camera whose topics have no prefix",
        Applies.ON_CONFIGURE,
        constraints="different names of letters, digits and _",
        check=_cameras_refusal,
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
        "input_durability",
        "volatile",
        "quality of service of the image subscription; transient_local also asks for the images "
        "sent before, and hears nothing from a volatile camera",
        Applies.ON_ACTIVATE,
        choices=("volatile", "transient_local"),
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
        "max_age",
        0.0,
        "seconds since its stamp after which an image that arrives is dropped; 0 drops none",
        Applies.AT_ONCE,
        limits=(0.0, 3600.0),
    ),
    ParameterSpec(
        "stale_after",
        1.0,
        "seconds without an image after which /diagnostics warns",
        Applies.AT_ONCE,
        limits=(0.05, 3600.0),
    ),
    ParameterSpec(
        "bad_image_after",
        2.0,
        "seconds of frozen, black or saturated images after which /diagnostics warns; 0 never",
        Applies.AT_ONCE,
        limits=(0.0, 3600.0),
    ),
    ParameterSpec(
        "bond_heartbeat_period",
        0.1,
        "seconds between the heartbeats of the bond with a Nav2 lifecycle manager; 0 makes none",
        Applies.ON_ACTIVATE,
        limits=(0.0, 10.0),
    ),
)
