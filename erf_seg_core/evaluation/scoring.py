"""Scoring predictions against truth, in the paper's protocol or at full resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..class_sets import ClassSet
from ..label_size import resize_labels
from .metrics import ConfusionMatrix

Protocol = Literal["full", "paper"]


@dataclass(frozen=True)
class Scores:
    """A confusion matrix with the names of its classes."""

    class_set: ClassSet
    confusion: ConfusionMatrix
    images: int
    protocol: Protocol = "full"

    def to_dict(self) -> dict[str, Any]:
        """Plain data: mIoU, accuracy and per-class IoU as fractions, counts, protocol."""
        iou = self.confusion.iou()
        return {
            "protocol": self.protocol,
            "images": self.images,
            "miou": _number(self.confusion.mean_iou()),
            "accuracy": _number(self.confusion.accuracy()),
            "iou": {n: _number(v) for n, v in zip(self.class_set.names, iou, strict=True)},
            "confusion": self.confusion.matrix.tolist(),
        }

    def table(self) -> str:
        """Per-class IoU, mIoU and accuracy in per cent, for reading."""
        iou = self.confusion.iou()
        width = max(len(name) for name in (*self.class_set.names, "accuracy"))
        rows = [
            f"{name:{width}} {100 * value:6.2f}" if np.isfinite(value) else f"{name:{width}}      –"
            for name, value in zip(self.class_set.names, iou, strict=True)
        ]
        rows.append(f"{'mIoU':{width}} {100 * self.confusion.mean_iou():6.2f}")
        rows.append(f"{'accuracy':{width}} {100 * self.confusion.accuracy():6.2f}")
        return "\n".join(rows)


def score(
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    predict: Callable[[np.ndarray, tuple[int, int]], np.ndarray],
    class_set: ClassSet,
    protocol: Protocol = "full",
) -> Scores:
    """Score a predictor on labelled images.

    Args:
        frames: pairs of image uint8 BGR H×W×3 and truth uint8 H×W.
        predict: from an image and a (height, width) to labels uint8 of that size.
        class_set: meaning of the labels.
        protocol: "full" scores at the truth's size. "paper" is ERFNet's evaluation, used in the
            paper's Section 4.2: the truth is subsampled by two and the network's output is scored
            at that size.

    """
    confusion = ConfusionMatrix(class_set.num_classes)
    images = 0
    for image, truth in frames:
        target = subsampled(truth) if protocol == "paper" else truth
        confusion.update(predict(image, target.shape[:2]), target)
        images += 1
    return Scores(class_set, confusion, images, protocol)


def subsampled(truth: np.ndarray) -> np.ndarray:
    """Every second pixel of a label image; which of each pair is what PIL's nearest takes."""
    height, width = truth.shape
    return resize_labels(truth, (max(1, height // 2), max(1, width // 2)))


def _number(value: float) -> float | None:
    """Six digits, and None where there is nothing to say, because JSON has no nan."""
    return round(float(value), 6) if np.isfinite(value) else None
