"""The stages of a network, and the work each must do at the least."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..inference.program import Concat, Conv, MaxPool, Program, SubpixelHead, Upsample, sources

HEAD = "head"
_FLOAT = 4


@dataclass
class Work:
    """Floating-point operations (2 per multiply-accumulate) and bytes moved, for one image."""

    flops: float = 0.0
    bytes: float = 0.0

    def add(self, flops: float, moved: float) -> None:
        """Count one step more."""
        self.flops += flops
        self.bytes += moved


def stage_names(program: Program) -> list[str]:
    """Stage of each step, in the words of the paper's Table 1."""
    names, halvings, doublings = [], 0, 0
    pooled = set()
    for index, step in enumerate(program.steps):
        halves = isinstance(step, Conv) and step.stride == 2
        halvings, doublings = halvings + halves, doublings + isinstance(step, Upsample)
        if isinstance(step, MaxPool):
            pooled.add(index + 1)
        of_pool = isinstance(step, MaxPool | Concat) or any(s in pooled for s in sources(step))
        if doublings:
            names.append(f"decoder stage {doublings}")
        elif halves or of_pool:
            names.append("downsampler 64→128" if halvings == 3 else "stem")
        else:
            names.append("128-channel modules" if halvings == 3 else "64-channel modules")
    return names


def _taps(step: Conv, height: int, width: int) -> int:
    """How often taps of one channel's kernel fall on pixels of an image of that size."""
    product = 1
    for axis, pixels in enumerate((height, width)):
        outputs = step.stride * np.arange(pixels // step.stride)[:, np.newaxis]
        taps = step.dilation[axis] * np.arange(step.weight.shape[2 + axis]) - step.padding[axis]
        product *= int(((outputs + taps >= 0) & (outputs + taps < pixels)).sum())
    return product


def work_by_stage(program: Program, size: tuple[int, int]) -> dict[str, Work]:
    """Work of each stage at an input size (height, width), float32.

    Flops: taps that fall on padding, up to half of those of dilated convolutions, do not count.
    Bytes: every step reads its inputs and weights once and writes its output once, as if no two
    steps were fused and no cache outlived a step. The head writes labels; logits stay in the cache.
    """
    shapes = [(3, *size)]
    works: dict[str, Work] = {}
    for step, name in zip(program.steps, stage_names(program), strict=True):
        inputs = [shapes[source] for source in sources(step)]
        channels, height, width = inputs[0]
        flops, weights = 0.0, 0
        if isinstance(step, Conv):
            weights = step.weight.numel() + step.bias.numel()
            shape = (len(step.weight), height // step.stride, width // step.stride)
            flops = 2.0 * math.prod(step.weight.shape[:2]) * _taps(step, height, width)
        elif isinstance(step, Upsample):
            weights = step.weight.numel() + step.bias.numel()
            shape = (step.weight.shape[1], 2 * height, 2 * width)
            flops = 2.0 * step.weight.numel() * height * width
        elif isinstance(step, Concat):
            shape = (sum(i[0] for i in inputs), height, width)
        else:
            half = 2 if isinstance(step, MaxPool) else 1
            shape = (channels, height // half, width // half)
        moved = sum(map(math.prod, inputs)) + math.prod(shape) + weights
        works.setdefault(name, Work()).add(flops, _FLOAT * moved)
        shapes.append(shape)
    channels, height, width = shapes[program.head.source]
    head = program.head
    blend = 0 if isinstance(head, SubpixelHead) else 4 * head.num_outputs * size[0] * size[1]
    labels = size[0] * size[1]
    moved = _FLOAT * (channels * height * width + head.weight.numel()) + labels
    works[HEAD] = Work(2.0 * head.weight.numel() * height * width + 2.0 * blend, moved)
    return works
