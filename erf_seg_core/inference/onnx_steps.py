"""The steps of a `Program` as ONNX nodes.

Two forms: "plain", each step the operator that has its name, which other runtimes know how to
optimise; and "cpu", written the way ONNX Runtime's CPU provider runs it fastest. Its convolutions
work on blocks of 16 channels (NCHWc) and change layout at every other operator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .onnx_builder import GraphBuilder, Value
from .program import Concat, Conv, MaxPool, Program, Shuffle, Upsample


def emit_steps(graph: GraphBuilder, program: Program, image: Value, for_cpu: bool) -> Value:
    """Append all steps; N×3×H×W → what the head reads."""
    values = [image]
    for step in program.steps:
        if isinstance(step, Concat):
            first, second = (values[source] for source in step.sources)
            values.append(first.scaled(graph.node("Concat", first.name, second.name, axis=1), 1))
            continue
        source = values[step.source]
        if isinstance(step, Conv):
            residual = None if step.residual is None else values[step.residual].name
            name = _emit_conv(graph, step, source.name, residual)
            values.append(source.scaled(name, 1 / step.stride))
        elif isinstance(step, MaxPool):
            name = graph.node("MaxPool", source.name, kernel_shape=[2, 2], strides=[2, 2])
            values.append(source.scaled(name, 1 / 2))
        elif isinstance(step, Shuffle):
            name = _emit_shuffle(graph, step, source, for_cpu)
            values.append(source.scaled(name, 1))
        else:
            name = (_emit_upsample if for_cpu else _emit_deconvolution)(graph, step, source)
            values.append(source.scaled(name, 2))
    return values[program.head.source]


def _emit_conv(graph: GraphBuilder, step: Conv, source: str, residual: str | None) -> str:
    name = graph.node(
        "Conv",
        source,
        graph.weight(step.weight),
        graph.weight(step.bias),
        kernel_shape=list(step.weight.shape[2:]),
        strides=[step.stride] * 2,
        pads=[*step.padding, *step.padding],
        dilations=list(step.dilation),
        group=step.groups,
    )
    if residual is not None:
        name = graph.node("Add", name, residual)
    return graph.node("Relu", name) if step.relu else name


def _emit_shuffle(graph: GraphBuilder, step: Shuffle, source: Value, for_cpu: bool) -> str:
    """A Gather, or the Reshape, Transpose and Reshape that other runtimes have a kernel for.

    OpenVINO is far faster with the latter if the size is fixed; with any size it does not recognise
    them. ONNX Runtime's CPU provider is faster with the Gather, for which a dense 1×1 convolution
    with permuted rows is no cheaper substitute.
    """
    if for_cpu or source.height is None or source.width is None:
        return graph.node("Gather", source.name, graph.constant(step.order), axis=1)
    parted = graph.reshape(source.name, 0, step.groups, step.channels // step.groups, -1)
    mixed = graph.node("Transpose", parted, perm=[0, 2, 1, 3])
    return graph.reshape(mixed, 0, step.channels, source.height, source.width)


def _emit_deconvolution(graph: GraphBuilder, step: Upsample, source: Value) -> str:
    kernel = step.weight.shape[2]
    name = graph.node(
        "ConvTranspose",
        source.name,
        graph.weight(step.weight),
        graph.weight(step.bias),
        kernel_shape=[kernel] * 2,
        strides=[2, 2],
        pads=[kernel // 2] * 4,
        output_padding=[1, 1],
    )
    return graph.node("Relu", name)


def _emit_upsample(graph: GraphBuilder, step: Upsample, source: Value) -> str:
    """Make the four phases of the output at the small size, then interleave them.

    ONNX Runtime's own ConvTranspose works by a matrix product and a scatter, in another layout.
    With the channels last, interleaving copies whole pixels and then whole rows.
    """
    channels, height, width = step.weight.shape[1], source.height, source.width
    if step.weight.shape[2] == 1:
        rows = _pointwise_rows(graph, step, source)
    else:
        rows = _rows_of_3x3(graph, step, source)
    whole = graph.node("Concat", *rows, axis=2)
    whole = graph.reshape(whole, 0, 2 * height, 2 * width, channels)
    whole = graph.node("Transpose", whole, perm=[0, 3, 1, 2])
    # The next module adds this value to its result. A convolution by 1 brings it into the blocked
    # layout once, so that the addition can be fused; without it every module changes layout twice.
    ones = graph.weight(torch.ones(channels, 1, 1, 1))
    return graph.node("Conv", whole, ones, kernel_shape=[1, 1], group=channels)


def _pointwise_rows(graph: GraphBuilder, step: Upsample, source: Value) -> list[str]:
    """Even and odd rows N×h×(2·w·C): a 1×1 kernel reaches the first phase only.

    The other three are the bias, repeated as often as the batch needs.
    """
    weight, bias = graph.weight(step.weight.transpose(0, 1)), step.bias.relu()
    first = graph.node("Conv", source.name, weight, graph.weight(step.bias), kernel_shape=[1, 1])
    first = _channels_last(graph, graph.node("Relu", first))
    fill = graph.node("Expand", graph.weight(bias.view(1, 1, 1, -1)), graph.node("Shape", first))
    even = graph.node("Concat", first, fill, axis=3)
    even = graph.reshape(even, 0, source.height, 2 * source.width * bias.numel())
    row = graph.weight(bias.repeat(2 * source.width).view(1, 1, -1))
    return [even, graph.node("Expand", row, graph.node("Shape", even))]


# A stride-2 transposed 3×3 convolution with padding 1 writes input i times tap k to output
# 2i - 1 + k. So even outputs see tap 1 of input i; odd ones tap 2 of input i and tap 0 of i + 1.
_TAPS = ([1], [2, 0])


def _rows_of_3x3(graph: GraphBuilder, step: Upsample, source: Value) -> list[str]:
    """Even and odd rows N×h×(2·w·C)."""
    weight, bias = step.weight.transpose(0, 1), graph.weight(step.bias)

    def phase(row: int, column: int) -> str:
        taps = graph.weight(weight[:, :, _TAPS[row]][:, :, :, _TAPS[column]])
        shape = [len(_TAPS[row]), len(_TAPS[column])]
        pads = [0, 0, row, column]  # input i + 1 of the last row or column is zero
        name = graph.node("Conv", source.name, taps, bias, kernel_shape=shape, pads=pads)
        return _channels_last(graph, graph.node("Relu", name))

    size = 2 * source.width * step.weight.shape[1]
    rows = [graph.node("Concat", phase(row, 0), phase(row, 1), axis=3) for row in (0, 1)]
    return [graph.reshape(row, 0, source.height, size) for row in rows]


def _channels_last(graph: GraphBuilder, value: str) -> str:
    return graph.node("Transpose", value, perm=[0, 2, 3, 1])


def bilinear_matrix(size: int, scale: int) -> Tensor:
    """Rows say how each of `size * scale` samples is blended from `size` ones."""
    identity = torch.eye(size).view(1, size, size)
    blended = torch.nn.functional.interpolate(
        identity, scale_factor=scale, mode="linear", align_corners=False
    )
    return blended[0].t()
