"""The PyTorch engine: channels last; eager on the CPU, on a GPU one CUDA graph per batch size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import SegmentationNetwork
from .cuda_graphs import FrameGraphs
from .program import (
    BilinearHead,
    Concat,
    Conv,
    MaxPool,
    Program,
    Shuffle,
    Step,
    SubpixelHead,
    Upsample,
    lower,
)

# On the CPU logits are made and reduced to labels in tiles of this many of them, so that they stay
# in the cache.
TILE_LOGITS = 4096 * 80


class TorchEngine:
    """Runs a network's steps one by one.

    Runs of several engines with different `threads` share PyTorch's one setting: each run sets it.
    """

    name = "torch"
    side_by_side = 1  # PyTorch has one setting of threads for all

    def __init__(
        self,
        net: SegmentationNetwork,
        device: torch.device,
        threads: int,
        precision: str = "fp32",
    ) -> None:
        """Copy the weights to the device; the network itself is left as it is."""
        self.device = str(device)
        self.precision = precision
        self._threads = threads
        self._on_cpu = device.type == "cpu"
        self._half = precision == "fp16"
        self._dtype = torch.float16 if self._half else torch.float32
        # In float16, 1/255 in the first weights would make many of them subnormal: scale images.
        program = lower(net, scale=1.0 if self._half else 1 / 255)
        self._program = _move(program, device, self._dtype)
        self._last_uses = program.last_uses()
        head = self._program.head
        self._head_matrix = head.matrix() if isinstance(head, SubpixelHead) else None
        self._graphs = None if self._on_cpu else FrameGraphs(self._frame, device, not self._half)

    def run(self, images: np.ndarray, confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine.run`; here images may have any size that is a multiple of 8."""
        if self._graphs is not None:
            return self._graphs.run(images, confidence)
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        if not images.flags.writeable:  # a view of a message: PyTorch warns that it can't guard it
            images = images.copy()
        with torch.inference_mode():
            labels, *sureness = self._frame(torch.from_numpy(images), confidence)
        return labels.numpy(), sureness[0].numpy() if confidence else None

    def largest_value(self, images: np.ndarray) -> float:
        """Largest absolute value that any step gives; on the CPU."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        largest: list[float] = []
        with torch.inference_mode():
            self._features(pixels, lambda value: largest.append(float(value.abs().max())))
        return max(largest)

    def close(self) -> None:
        """Free the weights."""
        del self._program, self._head_matrix
        if self._graphs is not None:
            self._graphs.close()

    def _frame(self, pixels: Tensor, confidence: bool) -> list[Tensor]:
        """Bytes N×h×w×3 on the device to labels and, if wanted, confidence."""
        # N×h×w×3 seen as N×3×h×w is the channels-last layout already.
        x = pixels.permute(0, 3, 1, 2).to(self._dtype)
        if self._half:
            x = x / 255
        return self._classify(self._features(x), confidence)

    def _features(
        self, image: Tensor, on_value: Callable[[Tensor], None] = lambda value: None
    ) -> Tensor:
        """Run all steps; N×3×h×w → what the head reads. `on_value` is shown each value."""
        values: dict[int, Tensor] = {0: image}
        for index, step in enumerate(self._program.steps):
            values[index + 1] = self._step(step, values)
            on_value(values[index + 1])
            for value in self._last_uses[index]:
                del values[value]
        return values[self._program.head.source]

    def _step(self, step: Step, values: dict[int, Tensor]) -> Tensor:
        if isinstance(step, Concat):
            return torch.cat([values[source] for source in step.sources], 1)
        x = values[step.source]
        if isinstance(step, Conv):
            y = F.conv2d(
                x, step.weight, step.bias, step.stride, step.padding, step.dilation, step.groups
            )
            if step.residual is not None:
                y += values[step.residual]
            return y.relu_() if step.relu else y
        if isinstance(step, MaxPool):
            return _max_pool(x)
        if isinstance(step, Shuffle):
            return _shuffle(x, step.groups)
        return _upsample(step, x)

    def _classify(self, features: Tensor, confidence: bool) -> list[Tensor]:
        head = self._program.head
        features = features.float()  # in float16, near logits would often be equal
        if isinstance(head, SubpixelHead):
            return self._classify_subpixels(head, features, confidence)
        # A matrix product, because a convolution may compute in TF32.
        logits = F.linear(features.permute(0, 2, 3, 1), head.weight[:, :, 0, 0], head.bias)
        logits = F.interpolate(
            logits.permute(0, 3, 1, 2),
            scale_factor=head.scale,
            mode="bilinear",
            align_corners=False,
        )
        return _reduce(logits.permute(0, 2, 3, 1), confidence)

    def _classify_subpixels(
        self, head: SubpixelHead, features: Tensor, confidence: bool
    ) -> list[Tensor]:
        """Matrix product, then the first largest logit, tile by tile of rows."""
        matrix, bias = self._head_matrix
        n, inputs, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).reshape(n * height, width, inputs)
        tile = TILE_LOGITS // (matrix.shape[1] * width) if self._on_cpu else n * height
        shape = (n * height, 2, width, 2)  # the last two make one row of the output
        results = [rows.new_empty(shape, dtype=torch.uint8) for _ in range(1 + confidence)]
        for start in range(0, n * height, max(1, tile)):
            part = rows[start : start + max(1, tile)]
            logits = torch.addmm(bias, part.reshape(-1, inputs), matrix)
            reduced = _reduce(logits.view(-1, width, 2, 2, head.num_outputs), confidence)
            for result, value in zip(results, reduced, strict=True):
                result[start : start + len(part)] = value.transpose(1, 2)
        return [result.view(n, 2 * height, 2 * width) for result in results]


def _move(program: Program, device: torch.device, dtype: torch.dtype) -> Program:
    """Copy of the program on the device: convolutions channels last, the head float32."""

    def moved(step: Step) -> Step:
        if isinstance(step, Conv):
            weight = step.weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
            return replace(step, weight=weight, bias=step.bias.to(device, dtype))
        if isinstance(step, Upsample):
            weight, bias = step.weight.to(device, dtype), step.bias.to(device, dtype)
            if weight.shape[2] == 1:  # is used with the outputs first, see `_upsample`
                weight = weight.transpose(0, 1).contiguous().transpose(0, 1)
            return replace(step, weight=weight, bias=bias)
        return step

    head: SubpixelHead | BilinearHead = program.head
    head = replace(head, weight=head.weight.to(device), bias=head.bias.to(device))
    return Program(tuple(moved(step) for step in program.steps), head)


def _max_pool(x: Tensor) -> Tensor:
    """2×2 stride-2 max-pooling; on the CPU up to 10 times as fast as `F.max_pool2d`."""
    top = torch.maximum(x[:, :, ::2, ::2], x[:, :, ::2, 1::2])
    bottom = torch.maximum(x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2])
    return torch.maximum(top, bottom, out=top)


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave groups, channels last; `index_select` leaves that layout, and is slower."""
    pixels = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
    return pixels.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


def _upsample(step: Upsample, x: Tensor) -> Tensor:
    """Transposed convolution and ReLU; with a 1×1 kernel three of four outputs are the bias."""
    if step.weight.shape[2] == 3:
        y = F.conv_transpose2d(x, step.weight, step.bias, stride=2, padding=1, output_padding=1)
        return y.relu_().contiguous(memory_format=torch.channels_last)
    small = F.conv2d(x, step.weight.transpose(0, 1), step.bias).relu_()
    n, channels, height, width = small.shape
    y = small.new_empty(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
    y[:] = step.bias.relu().view(1, -1, 1, 1)
    y[:, :, ::2, ::2] = small
    return y


def _reduce(logits: Tensor, confidence: bool) -> list[Tensor]:
    """Logits …×C to labels … and, if wanted, confidence …, both uint8."""
    # `max` finds value and index in one pass; `argmax` is several times slower.
    best, labels = logits.max(-1)
    results = [labels.to(torch.uint8)]
    if confidence:
        total = (logits - best.unsqueeze(-1)).exp_().sum(-1)
        results.append((255.0 / total).round_().to(torch.uint8))
    return results
