"""A `Program` as an ONNX graph, written the way ONNX Runtime runs it fastest.

The graph is built node by node: that takes milliseconds where tracing the module takes seconds, and
leaves the choice of operator to us. The choices below were measured on the CPU provider, whose
convolutions work on blocks of 16 channels (NCHWc) and change layout at every other operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from .program import BilinearHead, Concat, Conv, MaxPool, Program, Shuffle, SubpixelHead, Upsample

OPSET = 18
IR_VERSION = 9  # what ONNX Runtime 1.15 and TensorRT 10 still read

IMAGE_NAME = "image"
LABELS_NAME = "labels"
CONFIDENCE_NAME = "confidence"
LOGITS_NAME = "logits"

Output = Literal["labels", "labels+confidence", "logits"]

# Logits are made and reduced to labels in tiles of about this many (5 MB): all of them at once
# would take 42 MB for 512×1024 and 20 classes; much smaller tiles cost more in threads that wait.
TILE_LOGITS = 16384 * 80


def build_graph(program: Program, input_size: tuple[int, int], output: Output) -> onnx.ModelProto:
    """Turn a program into an ONNX model for any batch size and one input size (height, width).

    Output "labels" makes a graph from `image` N×h×w×3 uint8 (for a program lowered for bytes in
    BGR) to `labels` N×h×w uint8, the first of the largest logits; "labels+confidence" adds
    `confidence` N×h×w uint8, round(255 · softmax of that class). Output "logits" makes one from
    `image` N×3×h×w float32 to `logits` N×C×h×w float32.
    """
    height, width = input_size
    graph = _GraphBuilder()
    if output == "logits":
        image = helper.make_tensor_value_info(
            IMAGE_NAME, TensorProto.FLOAT, ["batch", 3, height, width]
        )
        planes = IMAGE_NAME
    else:
        image = helper.make_tensor_value_info(
            IMAGE_NAME, TensorProto.UINT8, ["batch", height, width, 3]
        )
        # Moving bytes before they become floats moves a quarter of the memory.
        planes = graph.node("Transpose", IMAGE_NAME, perm=[0, 3, 1, 2])
        planes = graph.node("Cast", planes, to=TensorProto.FLOAT)
    features = _emit_steps(graph, program, _Value(planes, height, width))
    if output == "logits":
        logits = _emit_logits(graph, program.head, features)
        graph.rename(logits, LOGITS_NAME)
        shape = ["batch", program.head.num_outputs, height, width]
        outputs = [helper.make_tensor_value_info(LOGITS_NAME, TensorProto.FLOAT, shape)]
    else:
        names = [LABELS_NAME, CONFIDENCE_NAME][: 1 + (output == "labels+confidence")]
        for value, name in zip(
            _emit_tiles(graph, program.head, features, len(names) == 2), names, strict=True
        ):
            graph.rename(value, name)
        shape = ["batch", height, width]
        outputs = [helper.make_tensor_value_info(n, TensorProto.UINT8, shape) for n in names]
    return graph.model(image, outputs)


class _Value:
    """An N×C×height×width value of the graph, by name."""

    def __init__(self, name: str, height: int, width: int) -> None:
        self.name, self.height, self.width = name, height, width


class _GraphBuilder:
    """Collects nodes and constants and names them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Append a node with one output and return the output's name."""
        return self.nodes_out(kind, *inputs, count=1, **attributes)[0]

    def nodes_out(self, kind: str, *inputs: str, count: int, **attributes: object) -> list[str]:
        """Append a node with several outputs and return their names."""
        name = f"{kind}_{len(self.nodes)}"
        outputs = [f"{name}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name, **attributes))
        return outputs

    def constant(self, value: Tensor | np.ndarray | Sequence[int]) -> str:
        """Append an initializer; sequences of integers become int64, as ONNX wants for shapes."""
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = f"const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape; 0 keeps the dimension at that place."""
        return self.node("Reshape", value, self.constant(shape))

    def rename(self, value: str, name: str) -> None:
        """Give a value that only its own node mentions another name."""
        node = next(node for node in reversed(self.nodes) if value in node.output)
        node.output[list(node.output).index(value)] = name

    def model(
        self, image: onnx.ValueInfoProto, outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Wrap everything up."""
        graph = helper.make_graph(self.nodes, "erf_seg", [image], outputs, self.constants)
        return helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="erf_seg",
        )


def _emit_steps(graph: _GraphBuilder, program: Program, image: _Value) -> _Value:
    values = [image]
    for step in program.steps:
        if isinstance(step, Concat):
            first, second = (values[source] for source in step.sources)
            name = graph.node("Concat", first.name, second.name, axis=1)
            values.append(_Value(name, first.height, first.width))
            continue
        source = values[step.source]
        height, width = source.height, source.width
        if isinstance(step, Conv):
            residual = None if step.residual is None else values[step.residual].name
            name = _emit_conv(graph, step, source.name, residual)
            height, width = height // step.stride, width // step.stride
        elif isinstance(step, MaxPool):
            name = graph.node("MaxPool", source.name, kernel_shape=[2, 2], strides=[2, 2])
            height, width = height // 2, width // 2
        elif isinstance(step, Shuffle):
            # Cheaper than the dense 1×1 with permuted rows that would make it unnecessary.
            name = graph.node("Gather", source.name, graph.constant(step.order), axis=1)
        else:
            name = _emit_upsample(graph, step, source)
            height, width = 2 * height, 2 * width
        values.append(_Value(name, height, width))
    return values[program.head.source]


def _emit_conv(graph: _GraphBuilder, step: Conv, source: str, residual: str | None) -> str:
    name = graph.node(
        "Conv",
        source,
        graph.constant(step.weight),
        graph.constant(step.bias),
        kernel_shape=list(step.weight.shape[2:]),
        strides=[step.stride] * 2,
        pads=[*step.padding, *step.padding],
        dilations=list(step.dilation),
        group=step.groups,
    )
    if residual is not None:
        name = graph.node("Add", name, residual)
    return graph.node("Relu", name) if step.relu else name


def _emit_upsample(graph: _GraphBuilder, step: Upsample, source: _Value) -> str:
    """Make the four phases of the output at the small size, then interleave them.

    ONNX Runtime's own ConvTranspose works by a matrix product and a scatter, in another layout.
    """
    if step.weight.shape[2] == 1:
        phases = _pointwise_phases(graph, step, source.name)
    else:
        phases = _phases_of_3x3(graph, step, source.name)
    channels, height, width = step.weight.shape[1], source.height, source.width
    rows = []
    for phase_row in phases:
        columns = [graph.reshape(phase, 0, channels, height, width, 1) for phase in phase_row]
        pair = graph.node("Concat", *columns, axis=4)
        rows.append(graph.reshape(pair, 0, channels, height, 1, 2 * width))
    whole = graph.node("Concat", *rows, axis=3)
    whole = graph.reshape(whole, 0, channels, 2 * height, 2 * width)
    # The next module adds this value to its result. A convolution by 1 brings it into the blocked
    # layout once, so that the addition can be fused; without it every module changes layout twice.
    ones = graph.constant(torch.ones(channels, 1, 1, 1))
    return graph.node("Conv", whole, ones, kernel_shape=[1, 1], group=channels)


def _pointwise_phases(graph: _GraphBuilder, step: Upsample, source: str) -> list[list[str]]:
    """A 1×1 kernel reaches the first phase only; the other three are the bias."""
    weight = graph.constant(step.weight.transpose(0, 1))
    first = graph.node("Conv", source, weight, graph.constant(step.bias), kernel_shape=[1, 1])
    first = graph.node("Relu", first)
    bias = graph.constant(step.bias.relu().view(1, -1, 1, 1))
    fill = graph.node("Expand", bias, graph.node("Shape", first))
    return [[first, fill], [fill, fill]]


# A stride-2 transposed 3×3 convolution with padding 1 writes input i times tap k to output
# 2i - 1 + k. So even outputs see tap 1 of input i; odd ones tap 2 of input i and tap 0 of i + 1.
_TAPS = ([1], [2, 0])


def _phases_of_3x3(graph: _GraphBuilder, step: Upsample, source: str) -> list[list[str]]:
    weight, bias = step.weight.transpose(0, 1), graph.constant(step.bias)

    def phase(row: int, column: int) -> str:
        taps = graph.constant(weight[:, :, _TAPS[row]][:, :, :, _TAPS[column]])
        shape = [len(_TAPS[row]), len(_TAPS[column])]
        pads = [0, 0, row, column]  # input i + 1 of the last row or column is zero
        return graph.node(
            "Relu", graph.node("Conv", source, taps, bias, kernel_shape=shape, pads=pads)
        )

    return [[phase(row, column) for column in (0, 1)] for row in (0, 1)]


def _emit_logits(graph: _GraphBuilder, head: SubpixelHead | BilinearHead, features: _Value) -> str:
    weight, bias = graph.constant(head.weight), graph.constant(head.bias)
    if isinstance(head, SubpixelHead):
        return graph.node(
            "ConvTranspose", features.name, weight, bias, kernel_shape=[2, 2], strides=[2, 2]
        )
    small = graph.node("Conv", features.name, weight, bias, kernel_shape=[1, 1])
    scales = graph.constant(np.array([1, 1, head.scale, head.scale], np.float32))
    return graph.node(
        "Resize", small, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
    )


def _emit_tiles(
    graph: _GraphBuilder, head: SubpixelHead | BilinearHead, features: _Value, confidence: bool
) -> list[str]:
    """Labels, and confidence if wanted, at input size from the features, tile by tile of rows."""
    if isinstance(head, SubpixelHead):
        tiles = _subpixel_tiles(graph, head, features, confidence)
    else:
        tiles = _bilinear_tiles(graph, head, features, confidence)
    return [graph.node("Concat", *pieces, axis=1) for pieces in zip(*tiles, strict=True)]


def _subpixel_tiles(
    graph: _GraphBuilder, head: SubpixelHead, features: _Value, confidence: bool
) -> list[list[str]]:
    matrix, bias = (graph.constant(tensor) for tensor in head.matrix())
    classes, width = head.num_outputs, features.width
    rows = max(1, TILE_LOGITS // (4 * classes * width))
    sizes = [min(rows, features.height - start) for start in range(0, features.height, rows)]
    pixels = graph.node("Transpose", features.name, perm=[0, 2, 3, 1])
    parts = graph.nodes_out("Split", pixels, graph.constant(sizes), count=len(sizes), axis=1)
    tiles = []
    for part, size in zip(parts, sizes, strict=True):
        logits = graph.node("Add", graph.node("MatMul", part, matrix), bias)
        logits = graph.reshape(logits, 0, size, width, 4, classes)
        tile = []
        for value in _classify(graph, logits, confidence):
            value = graph.reshape(value, 0, size, width, 2, 2)
            value = graph.node("Transpose", value, perm=[0, 1, 3, 2, 4])
            tile.append(graph.reshape(value, 0, 2 * size, 2 * width))
        tiles.append(tile)
    return tiles


def _bilinear_tiles(
    graph: _GraphBuilder, head: BilinearHead, features: _Value, confidence: bool
) -> list[list[str]]:
    """Enlarge by matrix products: along the width at once, along the height tile by tile."""
    classes, height, width = head.num_outputs, features.height, features.width
    small = graph.node("Transpose", features.name, perm=[0, 2, 3, 1])
    small = graph.node("MatMul", small, graph.constant(head.weight[:, :, 0, 0].t()))
    small = graph.node("Add", small, graph.constant(head.bias))  # N×h×w×C
    wide = graph.node("MatMul", graph.constant(_bilinear_matrix(width, head.scale)), small)
    wide = graph.reshape(wide, 0, height, width * head.scale * classes)
    vertical = _bilinear_matrix(height, head.scale)
    rows = max(1, TILE_LOGITS // (head.scale**2 * width * classes))
    tiles = []
    for start in range(0, height, rows):
        end = min(start + rows, height)
        first, last = max(start - 1, 0), min(end + 1, height)  # the neighbours are blended in
        source = graph.node("Slice", wide, *(graph.constant([value]) for value in (first, last, 1)))
        weights = vertical[start * head.scale : end * head.scale, first:last]
        logits = graph.node("MatMul", graph.constant(weights), source)
        logits = graph.reshape(logits, 0, (end - start) * head.scale, width * head.scale, classes)
        tiles.append(_classify(graph, logits, confidence))
    return tiles


def _bilinear_matrix(size: int, scale: int) -> Tensor:
    """Rows say how each of `size * scale` samples is blended from `size` ones."""
    identity = torch.eye(size).view(1, size, size)
    return F.interpolate(identity, scale_factor=scale, mode="linear", align_corners=False)[0].t()


def _classify(graph: _GraphBuilder, logits: str, confidence: bool) -> list[str]:
    """Reduce logits …×C to labels … (uint8) and, if wanted, confidence … (uint8)."""
    labels = graph.node("ArgMax", logits, axis=-1, keepdims=0)
    values = [graph.node("Cast", labels, to=TensorProto.UINT8)]
    if confidence:
        probability = graph.node("Softmax", logits, axis=-1)
        best = graph.node("ReduceMax", probability, graph.constant([-1]), keepdims=0)
        scaled = graph.node("Mul", best, graph.constant(np.float32(255.0)))
        rounded = graph.node("Round", scaled)
        values.append(graph.node("Cast", rounded, to=TensorProto.UINT8))
    return values
