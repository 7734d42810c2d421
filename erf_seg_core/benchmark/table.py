"""The results as a table and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .run import Benchmark, Row
from .statistics import Estimate

RIGHT_FROM = 3
"""The first columns are words, the others numbers."""


def header(benchmark: Benchmark) -> list[str]:
    """Column titles."""
    baseline = benchmark.baseline
    against = f"× {baseline.model}:{baseline.engine}" if baseline else "×"
    return [
        *("model", "weights", "engine", "device", "precision", "input", "threads", "batch"),
        *("ms/image", "95 %", "CPU ms", "images/s", against, "peak MiB"),
        *(["GPU MiB"] if _on_gpu(benchmark) else []),
        "mIoU %",
    ]


def cells(benchmark: Benchmark, row: Row) -> list[str]:
    """One measured row as text, one entry per column."""
    c, ms = row.configuration, row.ms_per_image
    height, width = c.input_size
    return [
        *(c.name, row.weights, c.engine, row.device, row.precision, f"{width}×{height}"),
        *(str(c.threads), str(c.batch)),
        f"{np.median(ms):.1f}",
        f"{np.percentile(ms, 95):.1f}",
        f"{row.cpu_ms_per_image:.1f}",
        f"{1000 / np.median(ms):.1f}",
        _estimate_text(benchmark.speedup(row)),
        _whole(row.memory and row.memory.process_mib),
        *([_whole(row.memory and row.memory.gpu_mib)] if _on_gpu(benchmark) else []),
        "–" if row.accuracy is None else f"{100 * row.accuracy.miou:.2f}",
    ]


def plain_text(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = []
    for row in (titles, *rows):
        padded = (
            text.ljust(width) if column < RIGHT_FROM else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render the same as a Markdown table."""
    rules = ["---" if column < RIGHT_FROM else "---:" for column in range(len(titles))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *rows))


def notes(benchmark: Benchmark) -> list[str]:
    """Say what the columns mean, and what must be known to believe them."""
    settings = benchmark.settings
    rounds = {len(row.durations.ms) for row in benchmark.measured()}
    height, width = settings.image_size
    lines = [
        f"From a {width}×{height} BGR image to labels of that size; {settings.outputs} outputs; "
        f"median of {' or '.join(map(str, sorted(rounds)))} interleaved rounds; × is the median "
        "over rounds of baseline / row (baseline one image at a time), with its 95 % interval. "
        "CPU ms: median processor time of all threads together."
    ]
    if any(row.memory for row in benchmark.measured()):
        lines.append(
            "Peak MiB: resident memory of a process that does this only, Python and libraries "
            "included."
        )
    if _on_gpu(benchmark):
        lines.append("GPU MiB: what the GPU's free memory fell by, while that process alone ran.")
    scored = {row.accuracy.on for row in benchmark.measured() if row.accuracy}
    lines += [f"mIoU: {on}." for on in sorted(scored)]
    if any(row.weights == "random" for row in benchmark.measured()):
        lines.append("Random weights: the labels mean nothing, the time is the same.")
    lines += dict.fromkeys(benchmark.remarks)
    lines += [f"not run: {_failure_text(row)}" for row in benchmark.failed()]
    return lines


def to_dict(benchmark: Benchmark) -> dict[str, Any]:
    """Everything as plain data; `ms` and `cpu_ms` are of whole batches, round by round."""
    return {
        "settings": asdict(benchmark.settings),
        "baseline": None if benchmark.baseline is None else asdict(benchmark.baseline),
        "cores_used_by_others": round(benchmark.cores_used_by_others, 3),
        "remarks": benchmark.remarks,
        "rows": [_row_to_dict(benchmark, row) for row in benchmark.measured()],
        "not_run": [
            {**row.configuration.to_dict(), "reason": row.failure} for row in benchmark.failed()
        ],
    }


def _row_to_dict(benchmark: Benchmark, row: Row) -> dict[str, Any]:
    ms, faster = row.ms_per_image, benchmark.speedup(row)
    return {
        **row.configuration.to_dict(),
        "device": row.device,
        "precision": row.precision,
        "weights": row.weights,
        "median_ms_per_image": round(float(np.median(ms)), 3),
        "p95_ms_per_image": round(float(np.percentile(ms, 95)), 3),
        "p99_ms_per_image": round(float(np.percentile(ms, 99)), 3),
        "median_cpu_ms_per_image": round(row.cpu_ms_per_image, 3),
        "images_per_s": round(float(1000 / np.median(ms)), 3),
        "times_faster_than_baseline": faster
        and {k: round(v, 3) for k, v in asdict(faster).items()},
        "memory": row.memory and asdict(row.memory),
        "accuracy": row.accuracy and asdict(row.accuracy),
        "ms": [round(value, 3) for value in row.durations.ms],
        "cpu_ms": [round(value, 3) for value in row.durations.cpu_ms],
    }


def _on_gpu(benchmark: Benchmark) -> bool:
    return any(row.memory and row.memory.gpu_mib is not None for row in benchmark.measured())


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _estimate_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"


def _failure_text(row: Row) -> str:
    c = row.configuration
    return (
        f"{c.name} {c.engine} {c.device} {c.precision} {c.input_size[1]}×{c.input_size[0]}, "
        f"threads {c.threads}, batch {c.batch}: {row.failure}"
    )
