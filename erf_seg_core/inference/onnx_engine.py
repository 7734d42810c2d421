"""The ONNX Runtime engine: the whole frame, bytes in and bytes out, in one graph."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from ..errors import ErfSegError
from ..models import SegmentationNetwork
from .onnx_graph import IMAGE_NAME, Output, build_graph
from .program import lower

logger = logging.getLogger(__name__)

Provider = tuple[str, dict[str, Any]]
_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"


class OnnxEngine:
    """Runs a network through ONNX Runtime on the CPU, CUDA or TensorRT provider."""

    def __init__(
        self,
        net: SegmentationNetwork,
        input_size: tuple[int, int],
        device: torch.device,
        threads: int,
        tensorrt: bool = False,
    ) -> None:
        """Build the graph for labels; the one with confidence is built when first asked for.

        Raises `ErfSegError` if the installed ONNX Runtime lacks the provider.
        """
        self.name = "tensorrt" if tensorrt else "onnxruntime"
        self.device = str(device)
        self._input_size = input_size
        self._program = lower(net)
        self._providers = _providers(device, tensorrt)
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 3  # errors; warnings are about its own optimizations
        # Threads that spin while they wait take the cores from everything else on the machine, and
        # from each other: with the cores busy a frame then takes up to twice as long.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions: dict[Output, onnxruntime.InferenceSession] = {}
        self._session("labels")

    def run(self, images: np.ndarray, confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Engine.run`."""
        session = self._session("labels+confidence" if confidence else "labels")
        labels, *sureness = session.run(None, {IMAGE_NAME: images})
        return labels, sureness[0] if confidence else None

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()

    def _session(self, output: Output) -> onnxruntime.InferenceSession:
        if output not in self._sessions:
            model = build_graph(self._program, self._input_size, output)
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), self._options, providers=self._providers
            )
            wanted = self._providers[0][0]
            if wanted not in session.get_providers():  # it only prints why, and goes on without
                raise ErfSegError(
                    f"ONNX Runtime could not start its {wanted} (its reason is printed above); "
                    "check that the CUDA, cuDNN and TensorRT it needs are installed, or use "
                    "engine torch"
                )
            self._sessions[output] = session
        return self._sessions[output]


def _providers(device: torch.device, tensorrt: bool) -> list[Provider]:
    """Providers in order of preference, the wanted one first; later ones fill its gaps."""
    if device.type == "cpu":
        if tensorrt:
            raise ErfSegError("engine 'tensorrt' runs on a GPU only: use device cuda")
        return [(_CPU, {})]
    wanted = _TENSORRT if tensorrt else _CUDA
    if wanted not in onnxruntime.get_available_providers():
        raise ErfSegError(
            f"this ONNX Runtime has no {wanted} for device '{device}': "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    cuda: Provider = (_CUDA, {"device_id": device.index})
    if not tensorrt:
        return [cuda, (_CPU, {})]
    cache = _cache_folder()
    logger.warning(
        "TensorRT compiles the network now; this takes minutes the first time and is kept in %s",
        cache,
    )
    options = {
        "device_id": device.index,
        "trt_fp16_enable": True,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
    }
    return [(_TENSORRT, options), cuda, (_CPU, {})]


def _cache_folder() -> Path:
    """Folder for compiled engines, as the XDG base directory specification has it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "erf_seg" / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
