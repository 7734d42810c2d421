"""The roofline as a table and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .roofline import Peaks, StageTime
from .table import plain_text

_TITLES = (
    *("model", "stage", "bound by", "MFLOP", "MB", "ms", "ms at the limit"),
    *("share of the limit", "ms in products", "ms in the rest"),
)


def roofline_to_dict(peaks: Peaks, stages: Mapping[str, Sequence[StageTime]]) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "peak_gflop_per_s": round(peaks.flops_per_s / 1e9, 2),
        "peak_gb_per_s": round(peaks.bytes_per_s / 1e9, 2),
        "models": {
            model: [_stage_to_dict(stage, peaks) for stage in times]
            for model, times in stages.items()
        },
    }


def roofline_text(
    peaks: Peaks, stages: Mapping[str, Sequence[StageTime]], threads: int, size: tuple[int, int]
) -> str:
    """Table for reading, and what its columns mean."""
    rows = [
        [model, *_cells(_stage_to_dict(stage, peaks))]
        for model, times in stages.items()
        for stage in times
    ]
    return (
        f"{plain_text(_TITLES, rows)}\n"
        f"ONNX Runtime on the CPU, {threads} threads, input {size[1]}×{size[0]}, float32. Peak of "
        f"this run: {peaks.flops_per_s / 1e9:.0f} GFLOP/s (a product or convolution in PyTorch), "
        f"{peaks.bytes_per_s / 1e9:.1f} GB/s (copy of 128 MiB). Stage times: median of ONNX "
        "Runtime's profiler. The limit is the longer of arithmetic at peak and every step reading "
        "and writing main memory once; fused steps and caches can beat the latter. The rest: "
        "changes of layout, concatenation, pooling, shuffles, argmax."
    )


def _stage_to_dict(stage: StageTime, peaks: Peaks) -> dict[str, Any]:
    limit = stage.limit_ms(peaks)
    computes = stage.work.flops / peaks.flops_per_s > stage.work.bytes / peaks.bytes_per_s
    return {
        "stage": stage.name,
        "bound_by": "arithmetic" if computes else "memory",
        "flops": stage.work.flops,
        "bytes": stage.work.bytes,
        "ms": round(stage.ms, 4),
        "limit_ms": round(limit, 4),
        "share_of_limit": round(limit / stage.ms, 4) if stage.ms else None,
        "ms_in_products": round(stage.computing_ms, 4),
        "ms_in_the_rest": round(stage.ms - stage.computing_ms, 4),
    }


def _cells(stage: Mapping[str, Any]) -> list[str]:
    share = stage["share_of_limit"]
    return [
        *(stage["stage"], stage["bound_by"]),
        f"{stage['flops'] / 1e6:.0f}",
        f"{stage['bytes'] / 1e6:.1f}",
        f"{stage['ms']:.2f}",
        f"{stage['limit_ms']:.2f}",
        "–" if share is None else f"{100 * share:.0f} %",
        f"{stage['ms_in_products']:.2f}",
        f"{stage['ms_in_the_rest']:.2f}",
    ]
