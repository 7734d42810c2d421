"""Where to compute: the names of devices, and whether they are there."""

from __future__ import annotations

import torch

from .errors import ErfSegError

_LARGEST_INDEX = 127  # PyTorch keeps the number of a device in 8 bits


def parse_device(text: str) -> torch.device | None:
    """Device of that name, None for "auto"; `ErfSegError` if there can be none."""
    if text == "auto":
        return None
    kind, colon, number = text.partition(":")
    if text != "cpu" and (kind != "cuda" or (colon and not number.isdecimal())):
        raise ErfSegError(f"no device '{text}'; it is auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return torch.device("cpu")
    index = int(number or 0)
    if index > _LARGEST_INDEX:  # `torch.device` would take it for another one
        raise ErfSegError(f"device '{text}' is not there: its number is too large")
    return torch.device("cuda", index)


def existing_device(device: torch.device | None) -> torch.device:
    """Return the device that PyTorch is to use, None the best; `ErfSegError` if it lacks it."""
    if device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        reason = (
            "this PyTorch is a CPU build; install the CUDA one"
            if torch.version.cuda is None
            else f"PyTorch sees {torch.cuda.device_count()} GPUs; check nvidia-smi"
        )
        raise ErfSegError(f"device '{device}' is not there: {reason}")
    return device
