"""The dense weight whose cross-group part fades: one torch parametrization."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


class FadingGroups(nn.Module):
    """Multiplies the cross-group part of a conv weight by α.

    For a weight O×I×k×k and C groups, row o and column i are in one group if they lie in the same
    C-th part of their axis: exactly the weights that `nn.Conv2d(groups=C)` has. With α = 1 the
    weight comes out bit for bit; the gradient of a cross-group weight is α times the dense one.
    `alpha` and `steps` are buffers: they are saved with the model, move with it and are tensors to
    `torch.compile`, so that a new α costs no recompilation.
    """

    alpha: torch.Tensor
    steps: torch.Tensor
    within: torch.Tensor

    def __init__(self, weight: torch.Tensor, groups: int) -> None:
        """Start at α = 1 for this weight's shape, dtype and device."""
        super().__init__()
        self.groups = groups
        place = {"device": weight.device}
        rows = torch.arange(weight.shape[0], **place) * groups // weight.shape[0]
        columns = torch.arange(weight.shape[1], **place) * groups // weight.shape[1]
        within = (rows[:, None] == columns[None, :])[:, :, None, None]
        self.register_buffer("alpha", torch.ones((), dtype=weight.dtype, **place))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, **place))
        self.register_buffer("within", within, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight O×I×k×k in, the same with its cross-group part times α out."""
        return weight * torch.where(self.within, torch.ones_like(self.alpha), self.alpha)


def attach(conv: nn.Conv2d, groups: int) -> FadingGroups:
    """Put `FadingGroups` on the weight of a dense conv; the parameter object stays the same."""
    fading = FadingGroups(conv.weight, groups)
    # unsafe skips torch's trial run, which changes nothing here but costs a forward.
    parametrize.register_parametrization(conv, "weight", fading, unsafe=True)
    return fading


def fold_conv(conv: nn.Conv2d, groups: int) -> None:
    """Turn a conv whose cross-group weights are 0 into a real grouped one, in place.

    Bias, stride, padding, dilation and hooks stay. The parameter is a new, smaller one.
    """
    parametrize.remove_parametrizations(conv, "weight", leave_parametrized=True)
    blocks = [
        rows.chunk(groups, dim=1)[g]
        for g, rows in enumerate(conv.weight.detach().chunk(groups, dim=0))
    ]
    conv.weight = nn.Parameter(torch.cat(blocks), requires_grad=conv.weight.requires_grad)
    conv.groups = groups
