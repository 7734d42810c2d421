"""Whether a network's values fit into float16, which ends at 65504."""

from __future__ import annotations

import numpy as np
import torch

from ..models import SegmentationNetwork
from .torch_engine import TorchEngine

_LARGEST = float(torch.finfo(torch.float16).max)
_ROOM = 4.0  # what a camera's pictures may exceed the tried ones by
_SIDE = 64


def fits_float16(net: SegmentationNetwork) -> bool:
    """Try noise, black and white in float32 on the CPU; False if a value comes near the end.

    A value beyond it would become infinite, and labels nonsense without a word. Takes some tens of
    milliseconds.
    """
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    pictures = np.stack([noise, np.zeros_like(noise), np.full_like(noise, 255)])
    engine = TorchEngine(net, torch.device("cpu"), torch.get_num_threads())
    return engine.largest_value(pictures) * _ROOM <= _LARGEST
