"""What an engine is, and the choice of one."""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import Protocol

import numpy as np
import psutil
import torch

from ..errors import ErfSegError
from ..models import SegmentationNetwork

logger = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "onnxruntime", "tensorrt")
"""Names that `create_engine` takes; "tensorrt" is ONNX Runtime's provider of that name."""

PRECISIONS = ("auto", "fp32", "fp16", "int8")

# What each engine can compute in on each kind of device; the first is what "auto" takes.
_PRECISIONS_OF = {
    ("torch", "cpu"): ("fp32",),
    ("torch", "cuda"): ("fp16", "fp32"),
    ("onnxruntime", "cpu"): ("fp32",),
    ("onnxruntime", "cuda"): ("fp16", "fp32"),
    ("tensorrt", "cuda"): ("fp16", "fp32"),
}


class Engine(Protocol):
    """Runs one network at one size.

    `name` is one of `ENGINES` and `precision` one of `PRECISIONS` (never "auto"), `device` where it
    runs ("cpu", "cuda:0").
    """

    name: str
    device: str
    precision: str

    def run(self, images: np.ndarray, confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Label images N×h×w×3 uint8 BGR of the network's size.

        Returns labels N×h×w uint8, the first of the largest logits, and, only if asked for,
        confidence N×h×w uint8: round(255 · softmax of that logit).
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; it cannot run any more."""
        ...


def create_engine(
    net: SegmentationNetwork,
    input_size: tuple[int, int],
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
) -> Engine:
    """Build the engine of that name for a network and an input size (height, width).

    Args:
        net: the network, with its weights.
        input_size: (height, width) of the images it will be given.
        engine: one of `ENGINES`. "auto" takes what is fastest: PyTorch on a GPU, on the CPU
            ONNX Runtime where it is installed.
        device: "auto" (a GPU if there is one that works with the engine), "cpu", "cuda", "cuda:1".
        threads: CPU threads; None for one per physical core that this process may use.
        precision: one of `PRECISIONS`. "auto" is float16 on a GPU and float32 on the CPU; the head
            computes in float32 always.

    Raises:
        ErfSegError: an unknown name, or an engine or device that is not there: what to install.

    """
    if engine not in ENGINES:
        raise ErfSegError(f"no engine '{engine}'; it is one of {', '.join(ENGINES)}")
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise ErfSegError(f"threads is {threads}; it must be at least 1")
    name, device = _choose(engine, _parse_device(device))
    precision = _checked_precision(precision, name, device)
    if name == "torch":
        from .torch_engine import TorchEngine

        chosen: Engine = TorchEngine(net, device, threads, precision)
    else:
        from .onnx_engine import OnnxEngine

        chosen = OnnxEngine(net, input_size, device, threads, name == "tensorrt", precision)
    logger.info(
        "engine %s on %s, %d threads, %s (asked for: engine %s)",
        name,
        chosen.device,
        threads,
        precision,
        engine,
    )
    return chosen


def default_threads() -> int:
    """Physical cores that this process may use: a core's second thread only slows inference."""
    usable = len(os.sched_getaffinity(0))
    return min(usable, psutil.cpu_count(logical=False) or usable)


def _choose(engine: str, device: torch.device | None) -> tuple[str, torch.device]:
    """Name and device, with "auto" resolved; a named engine that cannot run is an error."""
    if engine == "torch" or (engine == "auto" and device is None and torch.cuda.is_available()):
        return "torch", _existing_device(device)
    if engine == "auto" and device is not None and device.type == "cuda":
        return "torch", _existing_device(device)
    missing = [name for name in ("onnxruntime", "onnx") if importlib.util.find_spec(name) is None]
    if missing and engine == "auto":
        logger.warning(
            "%s not installed: using PyTorch, which is several times slower on a CPU "
            "(pip install %s)",
            " and ".join(missing),
            " ".join(missing),
        )
        return "torch", torch.device("cpu")
    if missing:
        raise ErfSegError(
            f"engine '{engine}' needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    if engine == "tensorrt" and device is None:
        device = torch.device("cuda", 0)
    return ("onnxruntime" if engine == "auto" else engine), device or _onnxruntime_device()


def _checked_precision(precision: str, name: str, device: torch.device) -> str:
    """Return the precision, with "auto" resolved."""
    if precision not in PRECISIONS:
        raise ErfSegError(f"no precision '{precision}'; it is one of {', '.join(PRECISIONS)}")
    possible = _PRECISIONS_OF.get((name, device.type), ())
    if precision == "auto":
        return possible[0] if possible else "fp32"
    if possible and precision not in possible:
        raise ErfSegError(
            f"engine '{name}' on {device} has no precision '{precision}'; it has "
            f"{' and '.join(possible)}"
        )
    return precision


def _onnxruntime_device() -> torch.device:
    """Return where a named ONNX Runtime runs if nobody says where: on a GPU if both are there."""
    import onnxruntime

    knows_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    use_cuda = knows_cuda and torch.cuda.is_available()
    return torch.device("cuda", 0) if use_cuda else torch.device("cpu")


def _parse_device(text: str) -> torch.device | None:
    """Device of that name; None for "auto"."""
    if text == "auto":
        return None
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ErfSegError(f"no device '{text}'; it is auto, cpu, cuda or cuda:N")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def _existing_device(device: torch.device | None) -> torch.device:
    """Return the device that PyTorch is to use, once it is known to be there."""
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
