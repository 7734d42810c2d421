"""Latency against mIoU, as in the paper's Figure 4, with milliseconds instead of FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ErfSegError
from .run import Benchmark, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"eager": "v", "upstream": "^", "torch": "s", "onnxruntime": "o", "tensorrt": "D"}


def write_figure(benchmark: Benchmark, path: Path) -> bool:
    """Write the plot (format by suffix) of all rows that have a mIoU; False if none has.

    Raises `ErfSegError` if the disk refuses.
    """
    rows = [row for row in benchmark.measured() if row.accuracy is not None]
    if not rows:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second that --help need not pay
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_points(axes, rows)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    height, width = benchmark.settings.image_size
    axes.set_xlabel(f"milliseconds per {width}×{height} image, median; the whisker ends at 95 %")
    axes.set_ylabel("mIoU, %")
    axes.set_title("; ".join(sorted({row.accuracy.on for row in rows})), fontsize=8)
    axes.grid(True, alpha=0.3)
    axes.margins(0.1, 0.3)
    axes.legend(fontsize=7)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ErfSegError(f"cannot write {path}: {error.strerror}") from error
    return True


def _draw_points(axes: Axes, rows: Sequence[Row]) -> None:
    """One colour for each model, one shape for each engine; int8 is hollow."""
    names = list(dict.fromkeys(row.configuration.name for row in rows))
    labels = _labels(rows)
    for row, label in zip(rows, labels, strict=True):
        c, ms = row.configuration, row.ms_per_image
        x, late = float(np.median(ms)), float(np.percentile(ms, 95))
        axes.errorbar(
            x,
            100 * row.accuracy.miou,
            xerr=[[0], [late - x]],
            fmt=_MARKERS[c.engine],
            color=f"C{names.index(c.name)}",
            markerfacecolor="none" if row.precision == "int8" else None,
            capsize=2,
            label=label,
        )


def _labels(rows: Sequence[Row]) -> list[str]:
    """Model and engine, and what else tells one row from another."""
    details = [
        (
            row.device,
            row.precision,
            f"{row.configuration.input_size[1]}×{row.configuration.input_size[0]}",
            f"{row.configuration.threads} threads",
            f"batch {row.configuration.batch}",
        )
        for row in rows
    ]
    differing = [len(set(column)) > 1 for column in zip(*details, strict=True)]
    return [
        " ".join([row.configuration.name, row.configuration.engine, *compress(words, differing)])
        for row, words in zip(rows, details, strict=True)
    ]
