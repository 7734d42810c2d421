"""Which machine a figure was measured on: no speed means anything without it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil
import torch

_LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless")


def machine_facts() -> dict[str, str]:
    """Processor, memory, GPU, system and the versions of what computes, ready to print."""
    facts = {
        "processor": f"{processor()}, {_usable_cpus()} usable of {os.cpu_count()} threads",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    for library in _LIBRARIES:
        try:
            facts[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Name and widest vector instructions: "AMD EPYC (AVX512)".

    Virtual machines hide the generation behind the name, and with it much of its speed.
    """
    return f"{_processor_name()} ({torch.backends.cpu.get_cpu_capability()})"


def _processor_name() -> str:
    """Model name from Linux's table; elsewhere what Python knows."""
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
