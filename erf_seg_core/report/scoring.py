"""Scores of recorded labels against the truth recorded with the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..class_sets import ClassSet
from ..errors import ErfSegError
from ..evaluation.boundary import BoundaryScore
from ..evaluation.flicker import TemporalConsistency
from ..evaluation.frame_scores import FrameScores
from ..evaluation.metrics import ConfusionMatrix
from ..evaluation.over_time import frame_miou
from ..evaluation.scoring import Scores
from ..label_size import resize_labels
from .frames import FrameOutcome
from .matched_frames import MatchedFrame


class RecordedScores:
    """Scores every frame that has both a label and truth, at truth's size; all frames for flicker.

    `boundary` and `consistency` hold the sums of their kind.
    """

    def __init__(self, class_set: ClassSet) -> None:
        """Start with no frame."""
        self.boundary = BoundaryScore(class_set.num_classes)
        # Of pairs of frames without truth, and with.
        self._consistency = (TemporalConsistency(), TemporalConsistency())
        self._class_set = class_set
        self._stamps_ns: list[int] = []
        self._confusion: list[np.ndarray] = []
        self._previous: MatchedFrame | None = None
        self._problem = ""

    def add(self, frame: MatchedFrame) -> float:
        """Count one frame; its mIoU, nan without one.

        Truth that is none ends the scoring: half a score would mislead.
        """
        self._compare_with_previous(frame)
        self._previous = frame
        if frame.labels is None or frame.truth is None or self._problem:
            return float("nan")
        if frame.truth.ndim != 2 or frame.truth.dtype != np.uint8:
            self._problem = f"the truth is no 8-bit label image but {_described(frame.truth)}"
            return float("nan")
        confusion = ConfusionMatrix(self._class_set.num_classes)
        labels = resize_labels(frame.labels, frame.truth.shape)
        try:
            confusion.update(labels, frame.truth)
        except ErfSegError as error:
            self._problem = str(error)
            return float("nan")
        self.boundary.update(labels, frame.truth)
        self._stamps_ns.append(frame.stamp_ns)
        self._confusion.append(confusion.matrix.astype(np.int32))
        return float(frame_miou(confusion.matrix[np.newaxis])[0])

    def scores(self) -> Scores | None:
        """Return the result, or None: see `why_none`."""
        if self._problem or not self._confusion:
            return None
        confusion = ConfusionMatrix(self._class_set.num_classes)
        confusion.matrix = np.sum(self._confusion, axis=0, dtype=np.int64)
        return Scores(self._class_set, confusion, len(self._confusion))

    @property
    def consistency(self) -> TemporalConsistency:
        """Flicker: with truth where there are scores, otherwise of all changes."""
        return self._consistency[not self.why_none()]

    def frame_scores(self, bag: str, frames: Sequence[FrameOutcome]) -> FrameScores | None:
        """The result frame by frame, with the times from stamp to label; None as above."""
        if self._problem or not self._confusion:
            return None
        times = {frame.stamp_ns: frame.times_ms.get("end_to_end", np.nan) for frame in frames}
        return FrameScores(
            self._class_set.names,
            np.array([bag] * len(self._stamps_ns)),
            np.array(self._stamps_ns, np.int64),
            np.array(self._confusion),
            np.array([times.get(stamp_ns, np.nan) for stamp_ns in self._stamps_ns]),
        )

    def why_none(self) -> str:
        """Why there is no result; empty if there is one."""
        if self._problem:
            return f"Not scored: {self._problem}."
        if not self._confusion:
            return "Not scored: no labelled frame has truth of the same stamp."
        return ""

    def _compare_with_previous(self, frame: MatchedFrame) -> None:
        """Neighbours only: what was dropped between two labels may have changed meanwhile."""
        before = self._previous
        if before is None or before.labels is None or frame.labels is None:
            return
        truths = (before.truth, frame.truth)
        if before.labels.shape != frame.labels.shape:
            return
        if all(t is not None and t.shape == frame.labels.shape for t in truths):
            self._consistency[True].update(before.labels, frame.labels, *truths)
        elif all(t is None for t in truths):
            self._consistency[False].update(before.labels, frame.labels)


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
