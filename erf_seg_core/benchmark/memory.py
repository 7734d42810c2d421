"""How much memory one configuration takes, in a process that does nothing else.

`python -m erf_seg_core.benchmark.memory JSON` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ErfSegError
from .configuration import Configuration

TIMEOUT_S = 300
_FRAMES = 3
_MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """MiB. `process_mib` is the peak resident memory of a whole process with the libraries.

    `engine_mib` is how far that peak lies above the process with the libraries loaded and the image
    decoded: weights, the engine's buffers, activations. `gpu_mib` is what the GPU's free memory
    fell by meanwhile, whatever else runs there.
    """

    process_mib: float
    engine_mib: float
    gpu_mib: float | None = None


def measure_memory(
    configuration: Configuration, image_size: tuple[int, int], outputs: int
) -> Memory:
    """Run a few frames in a process of their own; `ErfSegError` says why that failed."""
    task = {"configuration": asdict(configuration), "image_size": image_size, "outputs": outputs}
    search_path = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "erf_seg_core.benchmark.memory", json.dumps(task)],
            env={**os.environ, "PYTHONPATH": search_path},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise ErfSegError(f"its memory was not measured within {TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ErfSegError(f"its memory was not measured, status {done.returncode}: {last}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def _measure_here(task: dict[str, Any]) -> Memory:
    import numpy as np

    from .contenders import create_contender, load_subject

    data = task["configuration"]
    configuration = Configuration(**{**data, "input_size": tuple(data["input_size"])})
    _load_libraries(configuration.engine)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*task["image_size"], 3), np.uint8)] * configuration.batch
    gpu_free = _gpu_free_mib()
    before = _status_mib("VmRSS")
    subject = load_subject(configuration.model, task["outputs"], configuration.input_size)
    contender = create_contender(configuration, subject)
    for _ in range(_FRAMES):
        contender(images)
    peak = _status_mib("VmHWM")
    if not contender.device.startswith("cuda"):
        return Memory(round(peak, 1), round(peak - before, 1))
    taken = gpu_free[contender.device] - _gpu_free_mib()[contender.device]
    return Memory(round(peak, 1), round(peak - before, 1), round(taken, 1))


def _gpu_free_mib() -> dict[str, float]:
    """Free memory of each GPU, of which an engine's own allocator is silent."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {f"cuda:{i}": torch.cuda.mem_get_info(i)[0] / _MIB for i in range(count)}


def _load_libraries(engine: str) -> None:
    if engine in ("onnxruntime", "tensorrt"):
        import onnxruntime  # noqa: F401

        from ..inference import onnx_engine  # noqa: F401


def _status_mib(field: str) -> float:
    """Read a field of this process's status; `getrusage` would count the parent's memory too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ErfSegError(f"this kernel does not tell {field}")


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here(json.loads(sys.argv[1])))))
