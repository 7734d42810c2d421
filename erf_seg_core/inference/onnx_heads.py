"""A `Program`'s head as ONNX nodes: logits, or labels and confidence.

In the "cpu" form logits are made and reduced to labels tile by tile of rows, and those of the
whole image never exist: at 512×1024 with 20 classes they would be 42 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from onnx import TensorProto

from .onnx_builder import GraphBuilder, Value
from .onnx_steps import bilinear_matrix
from .program import BilinearHead, SubpixelHead

Head = SubpixelHead | BilinearHead

# About so many logits to a tile (2.6 MB): in larger ones they leave the cache, in much smaller ones
# more threads wait for each other.
TILE_LOGITS = 8192 * 80


def emit_logits(graph: GraphBuilder, head: Head, features: Value) -> str:
    """Logits N×C×H×W, float32."""
    name = features.name
    if graph.half:  # in float16, near logits would often be equal
        name = graph.cast(name, TensorProto.FLOAT)
    weight, bias = graph.constant(head.weight), graph.constant(head.bias)
    if isinstance(head, SubpixelHead):
        return graph.node("ConvTranspose", name, weight, bias, kernel_shape=[2, 2], strides=[2, 2])
    name = graph.node("Conv", name, weight, bias, kernel_shape=[1, 1])
    scales = graph.constant(np.array([1, 1, head.scale, head.scale], np.float32))
    return graph.node(
        "Resize", name, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
    )


def emit_labels(graph: GraphBuilder, head: Head, features: Value, confidence: bool) -> list[str]:
    """Labels N×H×W uint8, and confidence if wanted, by the operators that have these names."""
    return _classify(graph, emit_logits(graph, head, features), 1, confidence, via_float=True)


def emit_tiled_labels(
    graph: GraphBuilder, head: Head, features: Value, confidence: bool
) -> list[str]:
    """Do the same tile by tile; for float32 and a fixed size."""
    if isinstance(head, SubpixelHead):
        values = _joined(graph, _subpixel_tiles(graph, head, features, confidence))
        return [_interleaved(graph, value, features) for value in values]
    return _joined(graph, _bilinear_tiles(graph, head, features, confidence))


def _joined(graph: GraphBuilder, tiles: list[list[str]]) -> list[str]:
    """Labels, and confidence if there is one, of all tiles' rows."""
    return [graph.node("Concat", *pieces, axis=1) for pieces in zip(*tiles, strict=True)]


def _subpixel_tiles(
    graph: GraphBuilder, head: SubpixelHead, features: Value, confidence: bool
) -> list[list[str]]:
    """Values N×rows×(w·4) of each tile: the four that each pixel of the features becomes."""
    matrix, bias = (graph.constant(tensor) for tensor in head.matrix())
    inputs, classes, width = head.weight.shape[0], head.num_outputs, features.width
    pixels = graph.node("Transpose", features.name, perm=[0, 2, 3, 1])
    tiles = []
    for start, end in pairwise(_tile_starts(features.height, 4 * classes * width)):
        # Gather copies with all threads, Split and Slice with one.
        part = graph.node("Gather", pixels, graph.constant(range(start, end)), axis=1)
        # Gemm adds the bias on the way, where MatMul would leave it to a pass of its own.
        logits = graph.node("Gemm", graph.reshape(part, -1, inputs), matrix, bias)
        logits = graph.reshape(logits, -1, end - start, 4 * width, classes)
        tiles.append(_classify(graph, logits, -1, confidence))
    return tiles


def _interleaved(graph: GraphBuilder, value: str, features: Value) -> str:
    """N×h×(w·4) to N×2h×2w: each pixel's four become two rows of two."""
    height, width = features.height, features.width
    value = graph.reshape(value, 0, height, width, 2, 2)
    value = graph.node("Transpose", value, perm=[0, 1, 3, 2, 4])
    return graph.reshape(value, 0, 2 * height, 2 * width)


def _bilinear_tiles(
    graph: GraphBuilder, head: BilinearHead, features: Value, confidence: bool
) -> list[list[str]]:
    """Enlarge by matrix products: along the width at once, along the height tile by tile."""
    classes, height, width = head.num_outputs, features.height, features.width
    small = graph.node("Transpose", features.name, perm=[0, 2, 3, 1])
    small = graph.node("MatMul", small, graph.constant(head.weight[:, :, 0, 0].t()))
    small = graph.node("Add", small, graph.constant(head.bias))  # N×h×w×C
    wide = graph.node("MatMul", graph.constant(bilinear_matrix(width, head.scale)), small)
    wide = graph.reshape(wide, 0, height, width * head.scale * classes)
    vertical = bilinear_matrix(height, head.scale)
    tiles = []
    for start, end in pairwise(_tile_starts(height, head.scale**2 * width * classes)):
        first, last = max(start - 1, 0), min(end + 1, height)  # the neighbours are blended in
        source = graph.node("Slice", wide, *(graph.constant([value]) for value in (first, last, 1)))
        weights = vertical[start * head.scale : end * head.scale, first:last]
        logits = graph.node("MatMul", graph.constant(weights), source)
        logits = graph.reshape(logits, 0, (end - start) * head.scale, width * head.scale, classes)
        tiles.append(_classify(graph, logits, -1, confidence))
    return tiles


def _tile_starts(height: int, logits_per_row: int) -> Sequence[int]:
    """First rows of the tiles, and the height."""
    return [*range(0, height, max(1, TILE_LOGITS // logits_per_row)), height]


def _classify(
    graph: GraphBuilder, logits: str, axis: int, confidence: bool, via_float: bool = False
) -> list[str]:
    """Reduce logits to labels (uint8) and, if wanted, confidence (uint8).

    `via_float`: TensorRT before version 10 makes uint8 of floats only.
    """
    labels = graph.node("ArgMax", logits, axis=axis, keepdims=0)
    if via_float:
        labels = graph.cast(labels, TensorProto.FLOAT)
    values = [graph.cast(labels, TensorProto.UINT8)]
    if confidence:
        best = graph.reduce_max(graph.node("Softmax", logits, axis=axis), axis)
        scaled = graph.node("Mul", best, graph.constant(np.float32(255.0)))
        values.append(graph.cast(graph.node("Round", scaled), TensorProto.UINT8))
    return values
