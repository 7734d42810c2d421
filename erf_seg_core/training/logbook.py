"""What a run writes down: a CSV row per epoch, TensorBoard, and pictures at the end."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..class_sets import ClassSet

Row = dict[str, Any]


class Logbook:
    """Rows of one run, one per epoch; written whole each time, so a resumed run has no doubles."""

    def __init__(self, folder: Path, rows: list[Row] | None = None) -> None:
        """Go on from `rows`."""
        self.folder = folder
        self.rows = rows or []
        self._board = _summary_writer(folder, len(self.rows) + 1)

    def add(self, row: Row) -> None:
        """Write down an epoch."""
        self.rows.append(row)
        keys = list(dict.fromkeys(key for r in self.rows for key in r))
        with (self.folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, keys)
            writer.writeheader()
            writer.writerows(self.rows)
        if self._board is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    # Against the epochs of all stages: each stage counts its own.
                    self._board.add_scalar(key, value, len(self.rows))

    def close(self) -> None:
        """Finish the TensorBoard file and draw the curves."""
        if self._board is not None:
            self._board.close()
        if self.rows:
            draw_curves(self.rows, self.folder / "curves.png")


def draw_curves(rows: list[Row], path: Path) -> None:
    """Loss, validation mIoU and α against epochs, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second that --help need not pay
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    epochs = list(range(1, len(rows) + 1))
    top.plot(epochs, [r["loss"] for r in rows], color="black")
    top.set_ylabel("training loss")
    for key in [k for k in dict.fromkeys(k for r in rows for k in r) if k.startswith("miou ")]:
        points = [(e, r[key]) for e, r in zip(epochs, rows, strict=True) if r.get(key) is not None]
        bottom.plot(*zip(*points, strict=True), marker=".", label=key)
    bottom.set_ylabel("mIoU")
    bottom.set_xlabel("epoch")
    alphas = [r.get("alpha") for r in rows]
    if any(a is not None for a in alphas):
        right = bottom.twinx()
        right.plot(epochs, [np.nan if a is None else a for a in alphas], ":", color="tab:red")
        right.set_ylabel("α", color="tab:red")
    if bottom.get_legend_handles_labels()[0]:
        bottom.legend(loc="best")
    figure.savefig(path, dpi=100)


def draw_predictions(
    triples: list[tuple[np.ndarray, np.ndarray, np.ndarray]], class_set: ClassSet, path: Path
) -> None:
    """Image, truth and prediction side by side, one frame per row, as a PNG.

    Takes triples of uint8 BGR H×W×3, truth and predicted labels uint8 H×W.
    """
    palette = class_set.palette_bgr()
    height = 240
    rows = []
    for image, truth, labels in triples:
        width = round(image.shape[1] * height / image.shape[0])
        views = (image, palette[truth], palette[labels])
        rows.append(np.hstack([cv2.resize(v, (width, height)) for v in views]))
    narrowest = min(r.shape[1] for r in rows)
    cv2.imwrite(str(path), np.vstack([r[:, :narrowest] for r in rows]))


def _summary_writer(folder: Path, purge_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # TensorBoard is a convenience; the CSV holds the same numbers
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)
