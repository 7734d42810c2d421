"""What an engine is, and the choice of one."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import psutil
import torch

from ..devices import existing_device, parse_device
from ..errors import ErfSegError
from ..models import SegmentationNetwork
from .float16_range import fits_float16

if TYPE_CHECKING:
    from .calibration import Calibration

logger = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "onnxruntime", "tensorrt")
"""Names that `create_engine` takes; "tensorrt" is ONNX Runtime's provider of that name."""

PRECISIONS = ("auto", "fp32", "fp16", "int8")

# What each engine can compute in on each kind of device; the first is what "auto" takes.
_PRECISIONS_OF = {
    ("torch", "cpu"): ("fp32",),
    ("torch", "cuda"): ("fp16", "fp32"),
    ("onnxruntime", "cpu"): ("fp32", "int8"),
    ("onnxruntime", "cuda"): ("fp16", "fp32"),
    ("tensorrt", "cuda"): ("fp16", "fp32"),
}

GPU_DEVICE_FILES = (Path("/dev/nvidia0"), Path("/dev/nvhost-gpu"), Path("/dev/nvgpu"))
"""One of these is there where an NVIDIA GPU is: on a PC, on older and on newer Jetsons."""


class Engine(Protocol):
    """Runs one network at one size.

    `name` is one of `ENGINES` and `precision` one of `PRECISIONS` (never "auto"), `device` where it
    runs ("cpu", "cuda:0"). `side_by_side` is how many images of a run it labels at the same time on
    the CPU, each on a thread of its own; 1 where that is no faster.
    """

    name: str
    device: str
    precision: str
    side_by_side: int

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
        precision: one of `PRECISIONS`. "auto" is float16 on a GPU and float32 on the CPU, where
            it is int8 if the weights are calibrated for it, see `quantization`, and it was found
            faster on this machine, at this size and number of threads, at a loss of less than half
            a point of mIoU. The head computes in float32 always.

    Raises:
        ErfSegError: an unknown name, or an engine or device that is not there: what to install.

    """
    if engine not in ENGINES:
        raise ErfSegError(f"no engine '{engine}'; it is one of {', '.join(ENGINES)}")
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise ErfSegError(f"threads is {threads}; it must be at least 1")
    name, device = _choose(engine, parse_device(device))
    asked, precision = precision, _checked_precision(precision, name, device)
    if precision == "fp16" and not fits_float16(net):
        precision = _without_float16(asked)
    if name == "torch":
        from .torch_engine import TorchEngine

        chosen: Engine = TorchEngine(net, device, threads, precision)
    else:
        from .onnx_engine import OnnxEngine

        calibration = None
        if device.type == "cpu" and asked in ("auto", "int8"):
            calibration = _calibration(net, input_size, threads, required=asked == "int8")
        precision = precision if calibration is None else "int8"
        chosen = OnnxEngine(
            net, input_size, device, threads, name == "tensorrt", precision, calibration
        )
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
    is_gpu_there = any(file.exists() for file in GPU_DEVICE_FILES)
    if device is None and engine != "tensorrt" and is_gpu_there:
        _warn_of_unused_gpu(engine)
    if engine == "torch" or (engine == "auto" and device is None and torch.cuda.is_available()):
        return "torch", existing_device(device)
    if engine == "auto" and device is not None and device.type == "cuda":
        return "torch", existing_device(device)
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


def _without_float16(asked: str) -> str:
    """Precision of a network whose values may be beyond float16's; who insists is warned."""
    logger.warning(
        "some values in this network come near the end of float16's range, beyond which they are "
        "infinite: %s",
        "using float32" if asked == "auto" else "its labels may be wrong in fp16",
    )
    return "fp32" if asked == "auto" else asked


def _calibration(
    net: SegmentationNetwork, input_size: tuple[int, int], threads: int, required: bool
) -> Calibration | None:
    """Return what INT8 needs: if it is not required, only where it was found worth having."""
    from .calibration import conditions_here, find_calibration

    calibration = find_calibration(net)
    if calibration is None and required:
        raise ErfSegError(
            "these weights are not calibrated for precision 'int8' on this machine: run "
            "'erf_seg quantize MODEL --images FOLDER' with pictures from the cameras"
        )
    if required or calibration is None:
        return calibration
    return calibration if calibration.worth_it(conditions_here(input_size, threads)) else None


def _onnxruntime_device() -> torch.device:
    """Return where a named ONNX Runtime runs if nobody says where: on a GPU if both are there."""
    import onnxruntime

    knows_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    use_cuda = knows_cuda and torch.cuda.is_available()
    return torch.device("cuda", 0) if use_cuda else torch.device("cpu")


def _warn_of_unused_gpu(engine: str) -> None:
    """Say why "auto" will not use the GPU that is there, if that is so."""
    if not torch.cuda.is_available():
        reason = "is a CPU build" if torch.version.cuda is None else "finds no working driver"
        logger.warning(
            "there is an NVIDIA GPU, but this PyTorch %s: running on the CPU, which is slower",
            reason,
        )
    elif engine == "onnxruntime" and _onnxruntime_device().type == "cpu":
        logger.warning(
            "there is an NVIDIA GPU, but this ONNX Runtime is a CPU build: running on the CPU, "
            "which is slower (pip uninstall onnxruntime, then pip install onnxruntime-gpu)"
        )
