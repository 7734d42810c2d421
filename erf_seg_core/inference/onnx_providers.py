"""Which of ONNX Runtime's execution providers to use, and how."""

from __future__ import annotations

import logging
from typing import Any

import onnxruntime
import torch

from ..errors import ErfSegError
from .user_cache import user_cache

logger = logging.getLogger(__name__)

Provider = tuple[str, dict[str, Any]]
_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"


def providers_for(device: torch.device, tensorrt: bool, half: bool) -> list[Provider]:
    """Providers in order of preference, the wanted one first; later ones fill its gaps.

    Raises `ErfSegError` if the installed ONNX Runtime lacks the wanted one.
    """
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
    cache = user_cache("tensorrt")
    cache.mkdir(parents=True, exist_ok=True)
    logger.info("compiled TensorRT engines are kept in %s", cache)
    options = {
        "device_id": device.index,
        "trt_fp16_enable": half,
        "trt_engine_cache_enable": True,
        "trt_timing_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_path": str(cache),
    }
    return [(_TENSORRT, options), cuda, (_CPU, {})]
