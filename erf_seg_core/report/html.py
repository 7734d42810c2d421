"""The report page: one HTML file with its pictures inside, readable without a network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..class_sets import ClassSet
from ..evaluation.scoring import Scores
from . import figures
from .frames import achieved_rate_hz
from .pictures import Strip
from .summary import ReplaySummary

LARGEST_EMBEDDED_VIDEO = 16 * 2**20
"""Bytes; a longer video is linked, or the page would be slow to open."""

TITLES = {
    "age_on_arrival": "stamp to arrival in the node",
    "waiting": "waiting for the frame before it",
    "end_to_end": "stamp to label",
}
"""Names of times that do not speak for themselves."""


def write_report(
    path: Path, summary: ReplaySummary, strips: Sequence[Strip], video: Path | None
) -> None:
    """Write the page to `path`; `video` is a WebM in the same folder."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    page = template.render(
        summary=summary,
        totals=summary.totals.to_dict(),
        fates=figures.FATES,
        parts=figures.PARTS,
        titles=TITLES,
        latencies=summary.latencies,
        rate_hz=achieved_rate_hz(summary.frames),
        figures=_figures(summary),
        class_rows=class_rows(summary.scores) if summary.scores else [],
        classes=_legend(summary.model.class_set),
        strips=strips,
        first_stamp_ns=summary.frames[0].stamp_ns if summary.frames else 0,
        video_name=video.name if video else "",
        video_uri=_video_uri(video) if video else "",
    )
    path.write_text(page, encoding="utf-8")


def class_rows(scores: Scores) -> list[dict[str, Any]]:
    """Name, colour, IoU in per cent (None where the class does not occur) and share of truth."""
    pixels = scores.confusion.matrix.sum(axis=1)
    shares = 100 * pixels / max(1, pixels.sum())
    return [
        {
            "name": name,
            "color": f"rgb({color[0]} {color[1]} {color[2]})",
            "iou": 100 * float(iou) if np.isfinite(iou) else None,
            "share": float(share),
        }
        for name, color, iou, share in zip(
            scores.class_set.names,
            scores.class_set.colors,
            scores.confusion.iou(),
            shares,
            strict=True,
        )
    ]


def _legend(class_set: ClassSet) -> list[tuple[str, str]]:
    return [
        (name, f"rgb({r} {g} {b})")
        for name, (r, g, b) in zip(class_set.names, class_set.colors, strict=True)
    ]


def _figures(summary: ReplaySummary) -> dict[str, str]:
    """Figures that there is data for."""
    drawn = {}
    if summary.totals.recorded:
        drawn["fates"] = figures.fates_bar(summary.totals)
    if "end_to_end" in summary.latencies:
        drawn["parts"] = figures.parts_bar(summary.latencies)
        drawn["histogram"] = figures.latency_histogram(
            summary.frames, summary.latencies["end_to_end"]
        )
        drawn["timeline"] = figures.timeline(summary.frames)
    return drawn


def _video_uri(video: Path) -> str:
    if video.stat().st_size > LARGEST_EMBEDDED_VIDEO:
        return video.name
    return f"data:video/webm;base64,{base64.b64encode(video.read_bytes()).decode('ascii')}"
