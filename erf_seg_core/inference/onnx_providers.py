"""Which of ONNX Runtime's execution providers to use, and how."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from typing import Any

import onnxruntime
import torch

from ..errors import ErfSegError
from .user_cache import user_cache

logger = logging.getLogger(__name__)

Provider = tuple[str, dict[str, Any]]
CPU_PROVIDER = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"


def providers_for(device: torch.device, tensorrt: bool, half: bool) -> list[Provider]:
    """Providers in order of preference, the wanted one first; later ones fill its gaps.

    Raises `ErfSegError` if the installed ONNX Runtime lacks the wanted one.
    """
    if device.type == "cpu":
        if tensorrt:
            raise ErfSegError("engine 'tensorrt' runs on a GPU only: use device cuda")
        return [(CPU_PROVIDER, {})]
    wanted = _TENSORRT if tensorrt else _CUDA
    if wanted not in onnxruntime.get_available_providers():
        raise ErfSegError(
            f"this ONNX Runtime has no {wanted} for device '{device}': "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    # TF32 would round float32's factors to 10 bits.
    cuda: Provider = (_CUDA, {"device_id": device.index, "use_tf32": int(half)})
    if not tensorrt:
        return [cuda, (CPU_PROVIDER, {})]
    if not half and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        # Its provider has no option for it: https://github.com/microsoft/onnxruntime/issues/26029
        logger.warning(
            "TensorRT may round the factors of float32 products to TF32's 10 bits: set "
            "NVIDIA_TF32_OVERRIDE=0 before the start, if that must not be"
        )
    options = {"device_id": device.index, "trt_fp16_enable": half}
    return [(_TENSORRT, options), cuda, (CPU_PROVIDER, {})]


def with_engine_cache(providers: list[Provider], model: bytes) -> list[Provider]:
    """Give TensorRT a folder for this model's compiled engines, if one can be written.

    ONNX Runtime names them by the graph's names, not by its weights and sizes: of two models of
    ours in one folder, each would run the other's engine.
    """
    name, options = providers[0]
    if name != _TENSORRT:
        return providers
    try:
        folder = user_cache("tensorrt")
        engines = folder / hashlib.sha256(model).hexdigest()[:32]
        engines.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=engines):
            pass
    except OSError as error:
        logger.warning("compiled TensorRT engines are not kept, set XDG_CACHE_HOME: %s", error)
        return providers
    logger.info("compiled TensorRT engines are kept in %s", engines)
    cached = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
    }
    return [(name, {**options, **cached}), *providers[1:]]
