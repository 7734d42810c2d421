"""Building blocks of the ERFNet family.

Sources: Romera et al., ERFNet, T-ITS 2018 (https://github.com/Eromera/erfnet_pytorch) for the
downsampler, the factorised residual module and the upsampler; Vallurupalli et al., CVPRW 2018,
Figure 2 and Section 3.2 (https://arxiv.org/abs/1806.08522) for the depthwise-separable, grouped,
shuffled module.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ModuleOrder = Literal["released", "figure2"]
MODULE_ORDERS: tuple[ModuleOrder, ...] = ("released", "figure2")

BN_EPS = 1e-3  # ERFNet's value, in every batch norm of the family


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the family's epsilon."""
    return nn.BatchNorm2d(channels, eps=BN_EPS)


class Downsampler(nn.Module):
    """Halve the resolution: 3×3 stride-2 convolution beside 2×2 max-pooling, then BN and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """`inputs` of the `outputs` channels come from the pooling."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2, stride=2)
        self.bn = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W → N×outputs×H/2×W/2."""
        return F.relu(self.bn(torch.cat([self.conv(x), self.pool(x)], 1)))


class NonBottleneck1d(nn.Module):
    """ERFNet's residual module: two 3×3 convolutions, each factorised into 3×1 and 1×3."""

    def __init__(self, channels: int, dropout: float = 0.0, dilation: int = 1) -> None:
        """Dilate the second pair of convolutions only."""
        super().__init__()
        d = dilation
        self.conv3x1_1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.conv1x3_1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn1 = batch_norm(channels)
        self.conv3x1_2 = nn.Conv2d(channels, channels, (3, 1), padding=(d, 0), dilation=(d, 1))
        self.conv1x3_2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, d), dilation=(1, d))
        self.bn2 = batch_norm(channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Shape is kept."""
        y = F.relu(self.conv3x1_1(x))
        y = F.relu(self.bn1(self.conv1x3_1(y)))
        y = F.relu(self.conv3x1_2(y))
        y = self.bn2(self.conv1x3_2(y))
        return F.relu(self.dropout(y) + x)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of the groups (ShuffleNet, https://arxiv.org/abs/1707.01083)."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class DepthwiseModule(nn.Module):
    """Residual module D, DG(C) or DG(C)S: two depthwise 3×3 + pointwise 1×1 pairs.

    `dw → BN → ReLU → pw → BN [→ ReLU → shuffle] → dw (dilated) → BN → ReLU → pw → BN → dropout`,
    then `+x → ReLU`.
    The paper's Figure 2 has no ReLU after the first 1×1 (`module_order="figure2"`); the authors'
    released weights only work with it (`"released"`).
    """

    def __init__(
        self,
        channels: int,
        dropout: float = 0.0,
        dilation: int = 1,
        groups: int = 1,
        shuffle: bool = False,
        module_order: ModuleOrder = "released",
    ) -> None:
        """Group the two 1×1 convolutions; shuffle after the first of them."""
        super().__init__()
        c, d = channels, dilation
        self.groups = groups
        self.shuffle = shuffle and groups > 1
        self.inner_relu = module_order == "released"
        self.dw1 = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.bn1 = batch_norm(c)
        self.pw1 = nn.Conv2d(c, c, 1, groups=groups)
        self.bn2 = batch_norm(c)
        self.dw2 = nn.Conv2d(c, c, 3, padding=d, dilation=d, groups=c)
        self.bn3 = batch_norm(c)
        self.pw2 = nn.Conv2d(c, c, 1, groups=groups)
        self.bn4 = batch_norm(c)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Shape is kept."""
        y = F.relu(self.bn1(self.dw1(x)))
        y = self.bn2(self.pw1(y))
        if self.inner_relu:
            y = F.relu(y)
        if self.shuffle:
            y = channel_shuffle(y, self.groups)
        y = F.relu(self.bn3(self.dw2(y)))
        y = self.bn4(self.pw2(y))
        return F.relu(self.dropout(y) + x)


class Upsampler(nn.Module):
    """Double the resolution: stride-2 transposed convolution, BN, ReLU.

    The full decoder uses 3×3 kernels, the light one 1×1 (output padding 1: three of four output
    pixels are then the bias alone, and the following depthwise 3×3 fills them in).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        """`kernel` is 3 (full decoder) or 1 (light decoder)."""
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=1
        )
        self.bn = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W → N×outputs×2H×2W."""
        return F.relu(self.bn(self.conv(x)))
