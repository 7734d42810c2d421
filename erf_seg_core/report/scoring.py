"""Scores of recorded labels against the truth recorded with the images."""

from __future__ import annotations

from ..class_sets import ClassSet
from ..evaluation.metrics import ConfusionMatrix
from ..evaluation.scoring import Scores, resize_labels
from .matched_frames import MatchedFrame


class RecordedScores:
    """Collects the confusion of all frames that have both a label and truth, at truth's size."""

    def __init__(self, class_set: ClassSet) -> None:
        """Start with no frame."""
        self._class_set = class_set
        self._confusion = ConfusionMatrix(class_set.num_classes)
        self._images = 0

    def add(self, frame: MatchedFrame) -> None:
        """Count one frame; `ErfSegError` if its truth has ids that are no classes."""
        if frame.labels is None or frame.truth is None:
            return
        self._confusion.update(resize_labels(frame.labels, frame.truth.shape), frame.truth)
        self._images += 1

    def scores(self) -> Scores | None:
        """Return the result, or None if no frame could be scored."""
        return Scores(self._class_set, self._confusion, self._images) if self._images else None


def why_not_comparable(predicted: ClassSet, truth: ClassSet) -> str:
    """Why labels of one class set cannot be scored against truth in another; empty if they can."""
    if predicted.names == truth.names:
        return ""
    return (
        f"Not scored: the model labels the classes of {predicted.name}, "
        f"the truth in the bag is in {truth.name}."
    )
