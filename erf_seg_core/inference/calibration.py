"""What is known of a network's activations, for INT8: kept in the user's cache.

A calibration belongs to a network's weights, whatever the input size: it is a small JSON file,
found by a hash of the weights. Making one is `quantization`'s work.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from ..errors import ErfSegError
from ..machine import processor
from ..models import SegmentationNetwork
from ..whole_file import whole_file
from .onnx_graph import GraphOptions, build_graph, lower_for
from .user_cache import user_cache

logger = logging.getLogger(__name__)

_FORMAT = 2

MOST_LOSS = 0.005
"""mIoU (as a fraction) that "auto" gives away for speed at most."""


@dataclass(frozen=True)
class Worth:
    """What INT8 costs and gains, as measured once.

    `miou_loss` is a fraction, None if it was not measured, `speedup` a factor over float32: the
    lower end of its 95 % interval. `conditions` as by `conditions_here`.
    """

    miou_loss: float | None
    speedup: float
    scored_on: str
    conditions: str


@dataclass(frozen=True)
class Calibration:
    """Ranges (lowest, highest) by tensor, and what the result is worth, if that was measured."""

    ranges: dict[str, tuple[float, float]]
    images: str
    worth: Worth | None = None

    def worth_it(self, conditions: str) -> bool:
        """Whether "auto" should use it: found faster there, and less than `MOST_LOSS` worse."""
        if self.worth is None or self.worth.miou_loss is None:
            return False
        if self.worth.conditions != conditions:
            logger.info(
                "int8 was measured under other conditions (%s) than these (%s): not used",
                self.worth.conditions,
                conditions,
            )
            return False
        return self.worth.speedup > 1.0 and self.worth.miou_loss < MOST_LOSS


def conditions_here(input_size: tuple[int, int], threads: int) -> str:
    """What speed and loss depend on beside the weights, in words."""
    height, width = input_size
    version = onnxruntime.__version__
    return f"{processor()}, ONNX Runtime {version}, {width}×{height}, {threads} threads"


def find_calibration(net: SegmentationNetwork) -> Calibration | None:
    """Return the calibration of these weights, if there is one; damaged ones count as none."""
    try:
        data = json.loads(_file(net).read_text(encoding="utf-8"))
        if data.pop("format") != _FORMAT:
            return None
        ranges = {k: (a, b) for k, (a, b) in data["ranges"].items()}
        worth = data["worth"] and Worth(**data["worth"])
        return Calibration(ranges, data["images"], worth)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_worth(net: SegmentationNetwork, worth: Worth) -> Calibration:
    """Keep with the calibration what it costs and gains, for "auto" to decide by."""
    calibration = find_calibration(net)
    if calibration is None:
        raise ErfSegError("there is no calibration to record a score for")
    scored = replace(calibration, worth=worth)
    store_calibration(net, scored)
    return scored


def float_graph(net: SegmentationNetwork, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Return the graph whose values a calibration names."""
    options = GraphOptions("labels", input_size, "cpu")
    return build_graph(lower_for(net, options), options)


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes that are quantised, in order."""
    return [node for node in model.graph.node if node.op_type == "Conv"]


def _file(net: SegmentationNetwork) -> Path:
    """Name by the convolutions' places in the graph and weights: what the ranges belong to."""
    model = float_graph(net, (64, 64))
    constants = {constant.name: constant.raw_data for constant in model.graph.initializer}
    digest = hashlib.sha256()
    for node in convolutions(model):
        digest.update(" ".join([node.name, *node.input, *node.output]).encode())
        for name in node.input[1:]:
            digest.update(constants[name])
    return user_cache("int8") / f"{digest.hexdigest()[:32]}.json"


def store_calibration(net: SegmentationNetwork, calibration: Calibration) -> None:
    """Keep a calibration for `find_calibration`; `ErfSegError` if the disk refuses."""
    path = _file(net)
    data: dict[str, Any] = {"format": _FORMAT, **asdict(calibration)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps(data), encoding="utf-8")
    except OSError as error:
        raise ErfSegError(f"cannot keep the calibration in {path}: {error.strerror}") from error
    logger.info("calibration kept in %s", path)
