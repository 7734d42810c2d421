"""The network as a flat list of steps, ready to run: what every engine starts from.

`lower` walks a network of the zoo once. It folds each batch norm into the convolution before it,
drops the dropouts, sets weights that are practically zero to zero, and makes the first layer read
BGR bytes. How a step is computed is each engine's choice: what is fast in ONNX Runtime is not what
is fast in eager PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..models import STRIDE, DepthwiseModule, SegmentationNetwork
from ..models.blocks import Downsampler, NonBottleneck1d, Upsampler
from ..models.network import EncoderHead

# Training with L2 decay leaves tens of thousands of weights in the subnormal range, where a CPU
# multiplies 4 to 5 times slower. Below this magnitude a weight cannot change a float32 sum.
NEGLIGIBLE = 1e-20

IMAGE = 0  # the value that the first step reads: the network's input


@dataclass(frozen=True)
class Conv:
    """2-D convolution, then `+ residual` and ReLU where given. Weight: O×I/groups×kh×kw."""

    source: int
    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False
    residual: int | None = None


@dataclass(frozen=True)
class MaxPool:
    """2×2 max-pooling with stride 2."""

    source: int


@dataclass(frozen=True)
class Concat:
    """Two values one after the other along the channels."""

    sources: tuple[int, int]


@dataclass(frozen=True)
class Shuffle:
    """Channel shuffle: interleaves the channels of the groups."""

    source: int
    channels: int
    groups: int

    @property
    def order(self) -> Tensor:
        """Output channel k is input channel `order[k]`."""
        return torch.arange(self.channels).view(self.groups, -1).t().reshape(-1)


@dataclass(frozen=True)
class Upsample:
    """Stride-2 transposed convolution to exactly twice the size, then ReLU. Weight: I×O×k×k.

    The kernel k is 3 (padding 1, output padding 1) or 1 (output padding 1).
    """

    source: int
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class SubpixelHead:
    """Logits by a 2×2 stride-2 transposed convolution. Weight: I×C×2×2.

    No two output pixels share a kernel cell, so each of the four is a matrix product of its own
    with the features at half resolution; an engine never needs the logits of the whole image.
    """

    source: int
    weight: Tensor
    bias: Tensor

    @property
    def num_outputs(self) -> int:
        """C, the number of logits per pixel."""
        return self.weight.shape[1]

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Weight I×4C and bias 4C of the four products; columns run (row, column, class)."""
        inputs = self.weight.shape[0]
        return self.weight.permute(0, 2, 3, 1).reshape(inputs, -1), self.bias.repeat(4)


@dataclass(frozen=True)
class BilinearHead:
    """Logits by a 1×1 convolution at 1/8 resolution, enlarged bilinearly. Weight: C×I×1×1."""

    source: int
    weight: Tensor
    bias: Tensor
    scale: int = STRIDE

    @property
    def num_outputs(self) -> int:
        """C, the number of logits per pixel."""
        return self.weight.shape[0]


Step = Conv | MaxPool | Concat | Shuffle | Upsample
Head = SubpixelHead | BilinearHead


@dataclass(frozen=True)
class Program:
    """Steps in order: step i reads earlier values and makes value i + 1; the head comes last."""

    steps: tuple[Step, ...]
    head: Head

    def last_uses(self) -> list[list[int]]:
        """For each step, the values that no later step and not the head reads any more."""
        last = {}
        for index, step in enumerate(self.steps):
            for value in sources(step):
                last[value] = index
        last.pop(self.head.source, None)
        ends: list[list[int]] = [[] for _ in self.steps]
        for value, index in last.items():
            ends[index].append(value)
        return ends


def sources(step: Step) -> tuple[int, ...]:
    """Return the values that a step reads."""
    if isinstance(step, Concat):
        return step.sources
    if isinstance(step, Conv) and step.residual is not None:
        return (step.source, step.residual)
    return (step.source,)


@torch.no_grad()
def lower(net: SegmentationNetwork, *, bgr: bool = True, scale: float = 1 / 255) -> Program:
    """Flatten a network of the zoo, as it is in eval mode; the network itself is left as it is.

    Args:
        net: the network; its weights are copied as float32 on the CPU.
        bgr: the program's input has blue first, as OpenCV and `bgr8` have it, not red.
        scale: what the input is multiplied by, in the first layer's weights: 1/255 for bytes,
            1 for images in [0, 1].

    Returns:
        The steps from N×3×H×W (H and W multiples of 8) to the head.

    """
    builder = _Builder()
    value = builder.first_downsampler(net.encoder.initial_block, bgr, scale)
    decoder = net.decoder
    blocks = [*net.encoder.layers]
    if not isinstance(decoder, EncoderHead):
        blocks += [*decoder.layers]
    for block in blocks:
        value = builder.block(block, value)
    weight, bias = _clean(decoder.output_conv.weight), _clean(decoder.output_conv.bias)
    head_type = BilinearHead if isinstance(decoder, EncoderHead) else SubpixelHead
    return Program(tuple(builder.steps), head_type(value, weight, bias))


class _Builder:
    """Collects the steps of the blocks; each method returns the number of the value it makes."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, step: Step) -> int:
        """Append a step, with its tensors cleaned."""
        if isinstance(step, Conv | Upsample):
            step = replace(step, weight=_clean(step.weight), bias=_clean(step.bias))
        self.steps.append(step)
        return len(self.steps)

    def conv(self, source: int, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, **then: Any) -> int:
        """Convolution with its batch norm folded in; `then` is ReLU and residual."""
        weight, bias = conv.weight, conv.bias
        if bn is not None:
            gain, offset = _affine(bn)
            weight, bias = weight * gain.view(-1, 1, 1, 1), bias * gain + offset
        geometry = {"padding": conv.padding, "dilation": conv.dilation, "groups": conv.groups}
        return self.add(Conv(source, weight, bias, conv.stride[0], **geometry, **then))

    def first_downsampler(self, block: Downsampler, bgr: bool, scale: float) -> int:
        """Sum of two convolutions instead of a concatenation of 13 and 3 channels.

        Each makes all 16 channels, with zero rows for the other's. Sixteen are a whole vector
        register, which spares ONNX Runtime two changes of memory layout at half resolution.
        """
        pooled, made = block.conv.in_channels, block.conv.out_channels
        gain, offset = _affine(block.bn)
        weight = block.conv.weight.new_zeros(made + pooled, pooled, *block.conv.kernel_size)
        weight[:made] = block.conv.weight * gain[:made].view(-1, 1, 1, 1) * scale
        bias = offset.clone()
        bias[:made] += block.conv.bias * gain[:made]
        pool_weight = weight.new_zeros(made + pooled, pooled, 1, 1)
        pool_weight[made:, :, 0, 0] = torch.diag(gain[made:] * scale)
        if bgr:
            weight, pool_weight = weight.flip(1), pool_weight.flip(1)
        conv = self.add(Conv(IMAGE, weight, bias, block.conv.stride[0], block.conv.padding))
        pool = self.add(MaxPool(IMAGE))
        zero = torch.zeros_like(bias)
        return self.add(Conv(pool, pool_weight, zero, relu=True, residual=conv))

    def block(self, block: nn.Module, source: int) -> int:
        """Steps of one block of the encoder or decoder."""
        if isinstance(block, Downsampler):
            return self.downsampler(block, source)
        if isinstance(block, NonBottleneck1d):
            return self.non_bottleneck(block, source)
        if isinstance(block, DepthwiseModule):
            return self.depthwise_module(block, source)
        if isinstance(block, Upsampler):
            return self.upsampler(block, source)
        raise TypeError(f"no engine knows how to run a {type(block).__name__}")

    def downsampler(self, block: Downsampler, source: int) -> int:
        """Convolution beside pooling; batch norm on the pooled half is a depthwise 1×1."""
        made, gain, offset = block.conv.out_channels, *_affine(block.bn)
        weight = block.conv.weight * gain[:made].view(-1, 1, 1, 1)
        bias = block.conv.bias * gain[:made] + offset[:made]
        stride, padding = block.conv.stride[0], block.conv.padding
        conv = self.add(Conv(source, weight, bias, stride, padding, relu=True))
        pool = self.add(MaxPool(source))
        gain, offset = gain[made:], offset[made:]
        scaled = Conv(pool, gain.view(-1, 1, 1, 1), offset, groups=gain.numel(), relu=True)
        return self.add(Concat((conv, self.add(scaled))))

    def non_bottleneck(self, block: NonBottleneck1d, source: int) -> int:
        """Four factorised convolutions and the residual."""
        value = self.conv(source, block.conv3x1_1, None, relu=True)
        value = self.conv(value, block.conv1x3_1, block.bn1, relu=True)
        value = self.conv(value, block.conv3x1_2, None, relu=True)
        return self.conv(value, block.conv1x3_2, block.bn2, relu=True, residual=source)

    def depthwise_module(self, block: DepthwiseModule, source: int) -> int:
        """Two depthwise + pointwise pairs and the residual."""
        value = self.conv(source, block.dw1, block.bn1, relu=True)
        value = self.conv(value, block.pw1, block.bn2, relu=block.inner_relu)
        if block.shuffle:
            value = self.add(Shuffle(value, block.pw1.out_channels, block.groups))
        value = self.conv(value, block.dw2, block.bn3, relu=True)
        return self.conv(value, block.pw2, block.bn4, relu=True, residual=source)

    def upsampler(self, block: Upsampler, source: int) -> int:
        """Transposed convolution; its weight has the outputs second."""
        gain, offset = _affine(block.bn)
        weight = block.conv.weight * gain.view(1, -1, 1, 1)
        return self.add(Upsample(source, weight, block.conv.bias * gain + offset))


def _affine(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm with fixed statistics is `x * gain + offset`, per channel."""
    gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return gain, bn.bias - bn.running_mean * gain


def _clean(tensor: Tensor) -> Tensor:
    """Copy as contiguous float32 on the CPU, with negligible entries set to zero."""
    copy = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
    return copy.masked_fill_(copy.abs() < NEGLIGIBLE, 0.0)
