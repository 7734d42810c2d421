"""From a grouped network to the dense one that gradual grouping starts with."""

from __future__ import annotations

import torch
from torch import nn


def densify(model: nn.Module, keep_function: bool = False) -> dict[str, int]:
    """Replace every grouped (not depthwise) conv by a dense one, in place.

    The dense convs get PyTorch's fresh initialisation, or, with `keep_function`, the old weights in
    their blocks and zeros elsewhere, so that outputs stay equal. Returns the groups each conv had,
    by name: the `targets` that lead back to this network's state dict. Raises `ValueError` if the
    model itself is such a conv, which nothing holds that could hold another.
    """
    grouped = {
        name: conv
        for name, conv in model.named_modules()
        if isinstance(conv, nn.Conv2d) and 1 < conv.groups < conv.in_channels
    }
    if "" in grouped:
        raise ValueError("the model is itself a grouped Conv2d; put it into a module first")
    twins = {conv: _dense_twin(conv, keep_function) for conv in grouped.values()}
    everywhere = [(n, m) for n, m in model.named_modules(remove_duplicate=False) if m in twins]
    for name, conv in everywhere:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, twins[conv])
    return {name: conv.groups for name, conv in grouped.items()}


def _dense_twin(conv: nn.Conv2d, keep_function: bool) -> nn.Conv2d:
    dense = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    if keep_function:
        with torch.no_grad():
            dense.weight.zero_()
            blocks = dense.weight.chunk(conv.groups, 0)
            for g, (rows, block) in enumerate(
                zip(blocks, conv.weight.chunk(conv.groups, 0), strict=True)
            ):
                rows.chunk(conv.groups, 1)[g].copy_(block)
            if conv.bias is not None:
                dense.bias.copy_(conv.bias)
    dense.weight.requires_grad_(conv.weight.requires_grad)
    if conv.bias is not None:
        dense.bias.requires_grad_(conv.bias.requires_grad)
    return dense.train(conv.training)
