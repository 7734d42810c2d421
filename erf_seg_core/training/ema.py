"""Exponential moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averaged copy of all floating-point tensors of a network's state.

    The first steps use a shorter memory, (1 + t)/(10 + t), so that the random start is forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        """Start from the present weights."""
        self.decay = decay
        self.steps = 0
        self.tensors = {k: v.detach().clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights after one optimisation step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        own, new = [], []
        for key, value in net.state_dict().items():
            # Counters and α follow at once: they are not weights.
            if value.is_floating_point() and not key.endswith(".alpha"):
                own.append(self.tensors[key])
                new.append(value.detach())
            else:
                self.tensors[key].copy_(value)
        torch._foreach_lerp_(own, new, 1 - decay)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """Everything needed to go on."""
        return {"steps": self.steps, "tensors": self.tensors}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Inverse of `state_dict`; the average stays on the device that it is on."""
        self.steps = state["steps"]
        for key, tensor in self.tensors.items():
            tensor.copy_(state["tensors"][key])
