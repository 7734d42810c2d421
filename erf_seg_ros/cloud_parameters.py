"""Parameters of `semantic_cloud_node`, all read once when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.node import Node

from erf_seg_core.errors import ErfSegError

from .parameter_specs import Applies, ParameterSpec

CLOUD_SPECS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "geometry",
        "depth",
        "where the points come from: depth reads a registered depth image and its camera_info, "
        "points an organised point cloud",
        Applies.AT_START,
        choices=("depth", "points"),
    ),
    ParameterSpec(
        "color",
        "class",
        "colour of the points: that of their class, or the camera image's",
        Applies.AT_START,
        choices=("class", "image"),
    ),
    ParameterSpec(
        "confidence",
        True,
        "read the confidence of the labels; false makes the field 1 and saves its computation",
        Applies.AT_START,
    ),
    ParameterSpec(
        "slop",
        0.0,
        "seconds by which the stamps of depth or points may differ from the label's; 0 asks for "
        "equal stamps",
        Applies.AT_START,
        limits=(0.0, 10.0),
    ),
    ParameterSpec(
        "queue_size",
        30,
        "messages of each topic kept until their label arrives",
        Applies.AT_START,
        limits=(1, 1000),
    ),
    ParameterSpec(
        "queue_mb",
        256,
        "megabytes of each topic kept at most, whatever queue_size is",
        Applies.AT_START,
        limits=(1, 65536),
    ),
    ParameterSpec(
        "transport",
        "raw",
        "with color image: raw reads sensor_msgs/Image on image, compressed image/compressed",
        Applies.AT_START,
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "input_reliability",
        "best_effort",
        "quality of service of the camera's topics; best_effort matches every camera",
        Applies.AT_START,
        choices=("best_effort", "reliable"),
    ),
    ParameterSpec(
        "input_depth",
        5,
        "messages of each topic that the middleware may hold",
        Applies.AT_START,
        limits=(1, 100),
    ),
    ParameterSpec(
        "stale_after",
        2.0,
        "seconds without a cloud after which /diagnostics warns, while somebody subscribes",
        Applies.AT_START,
        limits=(0.05, 3600.0),
    ),
)


@dataclass(frozen=True)
class CloudSettings:
    """The parameters' values."""

    geometry: str
    color: str
    confidence: bool
    slop: float
    queue_size: int
    queue_mb: int
    transport: str
    input_reliability: str
    input_depth: int
    stale_after: float


def declare_cloud_parameters(node: Node) -> CloudSettings:
    """Declare and read; `ErfSegError` lists unusable values, rclpy raises for wrong types."""
    values = {
        spec.name: node.declare_parameter(spec.name, spec.default, spec.descriptor()).value
        for spec in CLOUD_SPECS
    }
    refusals = [reason for spec in CLOUD_SPECS if (reason := spec.refusal(values[spec.name]))]
    if refusals:
        raise ErfSegError("; ".join(refusals))
    return CloudSettings(**values)
