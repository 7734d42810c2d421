"""What a model costs: by the paper's accounting, and really."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from .network import STRIDE, build_model
from .zoo import ModelSpec, get_spec

PAPER_SIZE = (512, 1024)  # height, width at which the paper counts
PAPER_CLASSES = 20


@dataclass(frozen=True)
class Cost:
    """Weights, and multiply-accumulates for one image."""

    params: int
    macs: int


def paper_cost(name: str) -> Cost:
    """Parameters and MACs as the paper's tables count them, at 1024×512 with 20 classes.

    The convention, found by solving Tables 3 to 5: no biases and no batch norm; a downsampler
    counts as a full in→out 3×3 convolution; one module per decoder stage (there are two); the two
    upsampling convolutions count at their output's resolution, the last 2×2 one at its input's; no
    encoder head. The paper calls the MACs "FLOPs". Use `real_cost` to plan memory or time.
    """
    layers = [*_encoder_layers(get_spec(name)), *_decoder_layers(get_spec(name))]
    pixels = PAPER_SIZE[0] * PAPER_SIZE[1]
    return Cost(
        params=sum(weights for weights, _ in layers),
        macs=sum(weights * pixels // stride**2 for weights, stride in layers),
    )


@cache
def real_cost(name: str, num_classes: int = 20, size: tuple[int, int] = PAPER_SIZE) -> Cost:
    """All trainable parameters, and the MACs of the convolutions in one forward pass of 1×3×size.

    They are counted on the smallest image and grow with its pixels. The same as half of what
    `torch.utils.flop_counter` counts, which takes ten times as long. Height and width must be
    multiples of 8.
    """
    with torch.random.fork_rng(devices=[]):  # asking what a model costs must not change a training
        net = build_model(name, num_classes).eval()
    params = sum(p.numel() for p in net.parameters())
    macs = _count_macs(net, torch.zeros(1, 3, STRIDE, STRIDE))
    return Cost(params, macs * (size[0] // STRIDE) * (size[1] // STRIDE))


def _count_macs(net: nn.Module, image: Tensor) -> int:
    counts = []

    def count(conv: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        # Every weight is used once at each pixel: a transposed convolution's at those it reads.
        pixels = (inputs[0] if isinstance(conv, nn.ConvTranspose2d) else output)[0, 0].numel()
        counts.append(conv.weight.numel() * pixels)

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        net(image)
    return sum(counts)


# Each layer below is (weights, stride): it runs once per pixel of the image at 1/stride.
_Layer = tuple[int, int]


def _non_bottleneck(channels: int) -> int:
    return 4 * 3 * channels**2


def _depthwise(channels: int, groups: int = 1) -> int:
    return 2 * (9 * channels + channels**2 // groups)


def _encoder_layers(spec: ModelSpec) -> list[_Layer]:
    def stage(channels: int, count: int, replaced: range, stride: int) -> list[_Layer]:
        grouped, dense = _depthwise(channels, spec.groups), _non_bottleneck(channels)
        return [(grouped if i in replaced else dense, stride) for i in range(count)]

    return [
        (9 * 3 * 16, 2),
        (9 * 16 * 64, 4),
        *stage(64, 5, spec.replaced_64, 4),
        (9 * 64 * 128, 8),
        *stage(128, 8, spec.replaced_128, 8),
    ]


def _decoder_layers(spec: ModelSpec) -> list[_Layer]:
    if spec.decoder == "none":
        return []
    full = spec.decoder == "full"
    kernel, module = (9, _non_bottleneck) if full else (1, _depthwise)
    return [
        (kernel * 128 * 64, 4),
        (module(64), 4),
        (kernel * 64 * 16, 2),
        (module(16), 2),
        (4 * 16 * PAPER_CLASSES, 2),
    ]
