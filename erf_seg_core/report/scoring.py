"""Scores of recorded labels against the truth recorded with the images."""

from __future__ import annotations

import numpy as np

from ..class_sets import ClassSet
from ..errors import ErfSegError
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
        self._problem = ""

    def add(self, frame: MatchedFrame) -> None:
        """Count one frame. Truth that is none ends the scoring: half a score would mislead."""
        if frame.labels is None or frame.truth is None or self._problem:
            return
        if frame.truth.ndim != 2 or frame.truth.dtype != np.uint8:
            self._problem = f"the truth is no 8-bit label image but {_described(frame.truth)}"
            return
        try:
            labels = resize_labels(frame.labels, frame.truth.shape)
            self._confusion.update(labels, frame.truth)
        except ErfSegError as error:
            self._problem = str(error)
            return
        self._images += 1

    def scores(self) -> Scores | None:
        """Return the result, or None: see `why_none`."""
        if self._problem or not self._images:
            return None
        return Scores(self._class_set, self._confusion, self._images)

    def why_none(self) -> str:
        """Why there is no result; empty if there is one."""
        if self._problem:
            return f"Not scored: {self._problem}."
        if not self._images:
            return "Not scored: no labelled frame has truth of the same stamp."
        return ""


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"


def why_not_comparable(predicted: ClassSet, truth: ClassSet) -> str:
    """Why labels of one class set cannot be scored against truth in another; empty if they can."""
    if predicted.names == truth.names:
        return ""
    return (
        f"Not scored: the model labels the classes of {predicted.name}, "
        f"the truth in the bag is taken to be in {truth.name}."
    )
