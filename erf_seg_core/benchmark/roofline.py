"""How close each stage comes to what the machine can do at most (the roofline model)."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from ..inference.onnx_builder import GraphBuilder, Value
from ..inference.onnx_engine import session_options
from ..inference.onnx_graph import IMAGE_NAME, GraphOptions, build_graph, lower_for
from ..inference.onnx_steps import emit_steps
from ..inference.program import Program
from .contenders import Subject
from .stages import HEAD, Work, stage_names, work_by_stage

_COMPUTING = ("Conv", "Gemm", "MatMul", "FusedConv", "FusedMatMul")
_OWN_NAME = re.compile(r"^(?!Reorder)[A-Za-z]+_(\d+)(_\d+)?(_nchwc)?_kernel_time$")


@dataclass(frozen=True)
class Peaks:
    """What the machine reached: in float32 products, and in a copy far larger than caches."""

    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class StageTime:
    """One stage: its least work, its median milliseconds, and how many went into products."""

    name: str
    work: Work
    ms: float
    computing_ms: float

    def limit_ms(self, peaks: Peaks) -> float:
        """Milliseconds at the machine's peak: of arithmetic or of memory, whichever is longer."""
        seconds = max(self.work.flops / peaks.flops_per_s, self.work.bytes / peaks.bytes_per_s)
        return 1000.0 * seconds


def measure_peaks(threads: int) -> Peaks:
    """Take the best of a few runs of each; about a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        flops_per_s = max(_product_flops_per_s(), _convolution_flops_per_s())
        source = torch.rand(32 * 2**20)  # 128 MiB
        target = torch.empty_like(source)
        copy_s = _best_seconds(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(before)
    return Peaks(flops_per_s, 2.0 * 4 * source.numel() / copy_s)


def _product_flops_per_s() -> float:
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2.0 * 1024**3 / _best_seconds(lambda: torch.mm(a, b))


def _convolution_flops_per_s() -> float:
    """By another library than the product's, which leaves half of some processors idle."""
    channels, height, width = 128, 64, 128
    image = torch.rand(1, channels, height, width).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(channels, channels, 3, 3)
    seconds = _best_seconds(lambda: torch.conv2d(image, weight, padding=1))
    return 2.0 * channels * channels * 9 * height * width / seconds


def measure_stages(
    subject: Subject, input_size: tuple[int, int], threads: int, runs: int
) -> list[StageTime]:
    """Time the stages of a network in ONNX Runtime on the CPU, by its own profiler.

    The graph is the engine's. A change of memory layout that ONNX Runtime inserts counts for the
    stage of the operator before it.
    """
    options = GraphOptions("labels", input_size, "cpu")
    program = lower_for(subject.net, options)
    model = build_graph(program, options)
    stage_of_node = _stage_of_node(program, model, input_size)
    names = list(dict.fromkeys(stage_of_node))
    totals = {name: np.zeros((2, runs)) for name in names}
    for run, events in enumerate(_profile(model, input_size, threads, runs)):
        stage = names[0]
        for event in events:
            match = _OWN_NAME.match(event["name"])
            stage = stage_of_node[int(match.group(1))] if match else stage
            totals[stage][0, run] += event["dur"] / 1000.0
            if event["args"]["op_name"] in _COMPUTING:
                totals[stage][1, run] += event["dur"] / 1000.0
    works = work_by_stage(program, input_size)
    return [StageTime(n, works[n], *np.median(totals[n], axis=1).tolist()) for n in names]


def _best_seconds(call: Callable[[], object], times: int = 8) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _stage_of_node(
    program: Program, model: onnx.ModelProto, input_size: tuple[int, int]
) -> list[str]:
    """Stage of each node of the graph; nodes are in the order of the steps that made them."""
    kinds = [node.op_type for node in model.graph.node]
    stages = ["stem"] * kinds.index("Conv")  # bytes to floats, before the first step
    before = len(stages)
    for index, name in enumerate(stage_names(program)):
        end = before + _count_nodes(program, index + 1, input_size)
        stages += [name] * (end - len(stages))
    return stages + [HEAD] * (len(kinds) - len(stages))


def _count_nodes(program: Program, steps: int, input_size: tuple[int, int]) -> int:
    graph = GraphBuilder()
    part = Program(program.steps[:steps], replace(program.head, source=steps))
    emit_steps(graph, part, Value(IMAGE_NAME, *input_size), for_cpu=True)
    return len(graph.nodes)


def _profile(
    model: onnx.ModelProto, input_size: tuple[int, int], threads: int, runs: int
) -> list[list[dict]]:
    """Events of the kernels of each run, warm-up left out."""
    image = np.random.default_rng(0).integers(0, 256, (1, *input_size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(runs + 2):
            session.run(None, {IMAGE_NAME: image})
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    per_run = len(kernels) // (runs + 2)
    return [kernels[per_run * run : per_run * (run + 1)] for run in range(2, runs + 2)]
