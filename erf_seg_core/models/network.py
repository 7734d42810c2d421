"""Encoder, decoders and the network they make, built from a `ModelSpec`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ErfSegError
from .blocks import (
    MODULE_ORDERS,
    DepthwiseModule,
    Downsampler,
    ModuleOrder,
    NonBottleneck1d,
    Upsampler,
)
from .zoo import ModelSpec, get_spec

DILATIONS = (2, 4, 8, 16, 2, 4, 8, 16)  # of the eight 128-channel modules (paper, Table 1)
DROPOUT = (0.03, 0.3)  # ERFNet's, in the 64- and in the 128-channel modules
STRIDE = 8  # the encoder's: heights and widths must be multiples of it


class Encoder(nn.Module):
    """16 layers from the image to 128 channels at 1/8 of its resolution (paper, Tables 1 and 2)."""

    def __init__(
        self, spec: ModelSpec, module_order: ModuleOrder, dropout: tuple[float, float]
    ) -> None:
        """`dropout` is for the 64-channel and the 128-channel modules."""
        super().__init__()

        def residual(channels: int, dilation: int, depthwise: bool) -> nn.Module:
            drop = dropout[channels == 128]
            if not depthwise:
                return NonBottleneck1d(channels, drop, dilation)
            return DepthwiseModule(
                channels, drop, dilation, spec.groups, spec.shuffle, module_order
            )

        self.initial_block = Downsampler(3, 16)
        self.layers = nn.Sequential(
            Downsampler(16, 64),
            *[residual(64, 1, i in spec.replaced_64) for i in range(5)],
            Downsampler(64, 128),
            *[residual(128, d, i in spec.replaced_128) for i, d in enumerate(DILATIONS)],
        )

    def forward(self, image: Tensor) -> Tensor:
        """N×3×H×W → N×128×H/8×W/8."""
        return self.layers(self.initial_block(image))


class FullDecoder(nn.Module):
    """ERFNet's decoder: 3×3 upsamplers and Non-bt-1D modules, two per stage."""

    def __init__(self, num_classes: int) -> None:
        """`num_classes` output channels."""
        super().__init__()
        self.layers = nn.Sequential(
            Upsampler(128, 64),
            NonBottleneck1d(64),
            NonBottleneck1d(64),
            Upsampler(64, 16),
            NonBottleneck1d(16),
            NonBottleneck1d(16),
        )
        self.output_conv = nn.ConvTranspose2d(16, num_classes, 2, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """N×128×h×w → logits N×C×8h×8w."""
        return self.output_conv(self.layers(features))


class LightDecoder(nn.Module):
    """The "-proposed" decoder: 1×1 upsamplers and ungrouped D modules, two per stage."""

    def __init__(self, num_classes: int, module_order: ModuleOrder) -> None:
        """`num_classes` output channels."""
        super().__init__()
        self.layers = nn.Sequential(
            Upsampler(128, 64, kernel=1),
            DepthwiseModule(64, module_order=module_order),
            DepthwiseModule(64, module_order=module_order),
            Upsampler(64, 16, kernel=1),
            DepthwiseModule(16, module_order=module_order),
            DepthwiseModule(16, module_order=module_order),
        )
        self.output_conv = nn.ConvTranspose2d(16, num_classes, 2, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """N×128×h×w → logits N×C×8h×8w."""
        return self.output_conv(self.layers(features))


class EncoderHead(nn.Module):
    """The classifier of the encoder-only models: 1×1 at 1/8 resolution (paper, Section 5.3)."""

    def __init__(self, num_classes: int) -> None:
        """`num_classes` output channels."""
        super().__init__()
        self.output_conv = nn.Conv2d(128, num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """N×128×h×w → logits N×C×8h×8w, bilinear."""
        return F.interpolate(
            self.output_conv(features), scale_factor=STRIDE, mode="bilinear", align_corners=False
        )


class SegmentationNetwork(nn.Module):
    """A network of the zoo.

    `encoder` gives the features; `decoder` (a `FullDecoder`, `LightDecoder` or, for the
    encoder-only models, an `EncoderHead`) turns them into logits.
    """

    def __init__(
        self,
        spec: ModelSpec,
        num_classes: int,
        module_order: ModuleOrder,
        dropout: tuple[float, float],
    ) -> None:
        """Use `build_model` instead."""
        super().__init__()
        self.spec = spec
        self.num_classes = num_classes
        self.module_order = module_order
        self.encoder = Encoder(spec, module_order, dropout)
        self.decoder = _build_decoder(spec, num_classes, module_order)

    def forward(self, image: Tensor) -> Tensor:
        """Logits N×C×H×W of RGB images N×3×H×W in [0, 1]; H and W are multiples of 8."""
        return self.decoder(self.encoder(image))


def build_model(
    name: str,
    num_classes: int = 20,
    module_order: ModuleOrder = "released",
    dropout: tuple[float, float] = DROPOUT,
) -> SegmentationNetwork:
    """Build a model of the zoo with fresh weights.

    Args:
        name: registry name or the paper's spelling, see `list_models`.
        num_classes: output channels; 20 is Cityscapes' 19 classes and void.
        module_order: whether a ReLU follows the first 1×1 of a depthwise module ("released", as the
            authors' weights need it) or not ("figure2", as the paper draws it).
        dropout: probability in the 64-channel and in the 128-channel encoder modules.

    Returns:
        An `nn.Module` from N×3×H×W RGB in [0, 1] to logits N×num_classes×H×W.

    Raises:
        ErfSegError: unknown name or module order, or fewer than one class.

    """
    if num_classes < 1:
        raise ErfSegError(f"num_classes is {num_classes}; a network needs at least one")
    if module_order not in MODULE_ORDERS:
        raise ErfSegError(f"no module order '{module_order}'; it is one of {MODULE_ORDERS}")
    return SegmentationNetwork(get_spec(name), num_classes, module_order, dropout)


def _build_decoder(spec: ModelSpec, num_classes: int, module_order: ModuleOrder) -> nn.Module:
    if spec.decoder == "full":
        return FullDecoder(num_classes)
    if spec.decoder == "light":
        return LightDecoder(num_classes, module_order)
    return EncoderHead(num_classes)
