"""A `Program` as an ONNX graph.

The graph is built node by node: that takes milliseconds where tracing the module takes seconds, and
leaves the choice of operator to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..models import SegmentationNetwork
from .onnx_builder import DEFAULT_OPSET, GraphBuilder, Value
from .onnx_heads import emit_labels, emit_logits, emit_tiled_labels
from .onnx_steps import emit_steps
from .program import Program, lower

IMAGE_NAME = "image"
LABELS_NAME = "labels"
CONFIDENCE_NAME = "confidence"
LOGITS_NAME = "logits"

Output = Literal["labels", "labels+confidence", "logits"]
Form = Literal["plain", "cpu"]


@dataclass(frozen=True)
class GraphOptions:
    """What graph to build.

    `output` "labels" makes a graph from `image` N×h×w×3 uint8 BGR to `labels` N×h×w uint8, the
    first of the largest logits; "labels+confidence" adds `confidence` N×h×w uint8, round(255 ·
    softmax of that class). "logits" makes one from `image` N×3×h×w float32 RGB in [0, 1] to
    `logits` N×C×h×w float32. `half` computes in float16 in between.

    `batch` is N, None for any. `input_size` is (height, width), None for any multiples of 8, which
    the form "cpu" (see `onnx_steps`; float32 only) can't.
    """

    output: Output
    input_size: tuple[int, int] | None
    form: Form = "plain"
    batch: int | None = None
    half: bool = False
    opset: int = DEFAULT_OPSET


def lower_for(net: SegmentationNetwork, options: GraphOptions) -> Program:
    """Flatten a network for the input that a graph with these options has."""
    if options.output == "logits":
        return lower(net, bgr=False, scale=1.0)
    # In float16, 1/255 in the first weights would make many of them subnormal: scale images.
    return lower(net, scale=1.0 if options.half else 1 / 255)


def build_graph(program: Program, options: GraphOptions) -> onnx.ModelProto:
    """Turn a program, from `lower_for` with the same options, into an ONNX model."""
    for_cpu = options.form == "cpu"
    graph = GraphBuilder(options.opset, options.half)
    image, planes = _emit_input(graph, options)
    features = emit_steps(graph, program, planes, for_cpu)
    n, height, width = _dimensions(options)
    if options.output == "logits":
        graph.rename(emit_logits(graph, program.head, features), LOGITS_NAME)
        shape = [n, program.head.num_outputs, height, width]
        return graph.model(
            image, [helper.make_tensor_value_info(LOGITS_NAME, TensorProto.FLOAT, shape)]
        )
    names = [LABELS_NAME, CONFIDENCE_NAME][: 1 + (options.output == "labels+confidence")]
    emit = emit_tiled_labels if for_cpu else emit_labels
    for value, name in zip(
        emit(graph, program.head, features, len(names) == 2), names, strict=True
    ):
        graph.rename(value, name)
    shape = [n, height, width]
    return graph.model(
        image, [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in names]
    )


def _dimensions(options: GraphOptions) -> tuple[int | str, int | str, int | str]:
    """Batch, height and width, by name where they are dynamic."""
    height, width = options.input_size or ("height", "width")
    return options.batch or "batch", height, width


def _emit_input(graph: GraphBuilder, options: GraphOptions) -> tuple[onnx.ValueInfoProto, Value]:
    """Declare the input and bring it to N×3×h×w floats."""
    n, height, width = _dimensions(options)
    kind = TensorProto.FLOAT16 if options.half else TensorProto.FLOAT
    if options.output == "logits":
        image = helper.make_tensor_value_info(IMAGE_NAME, TensorProto.FLOAT, [n, 3, height, width])
        planes = graph.cast(IMAGE_NAME, kind) if options.half else IMAGE_NAME
        return image, Value(planes, *(options.input_size or (None, None)))
    image = helper.make_tensor_value_info(IMAGE_NAME, TensorProto.UINT8, [n, height, width, 3])
    if options.form == "cpu":
        # Moving bytes before they become floats moves a quarter of the memory.
        planes = graph.cast(graph.node("Transpose", IMAGE_NAME, perm=[0, 3, 1, 2]), kind)
    else:
        # TensorRT allows nothing but a cast to touch bytes.
        planes = graph.node("Transpose", graph.cast(IMAGE_NAME, kind), perm=[0, 3, 1, 2])
    if options.half:
        planes = graph.node("Div", planes, graph.constant(np.float16(255)))
    return image, Value(planes, *(options.input_size or (None, None)))
