"""Everything that is counted of one model on one bag, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..class_sets import ClassSet
from ..errors import ErfSegError
from ..evaluation import ConfusionMatrix
from ..evaluation.boundary import BoundaryScore
from ..evaluation.calibration import Calibration
from ..evaluation.flicker import TemporalConsistency
from ..evaluation.over_time import frame_miou
from .frame_table import FrameTable, FrameTableBuilder
from .labelled_frame import LabelledFrame


@dataclass(frozen=True)
class ModelCounts:
    """Of one model on one bag: rows of frames, and counts that may be added over bags.

    `boundary` and `calibration` are the counts of the scores of those names. `flicker` is int64
    2×2: pixels changed and compared, in pairs of frames without truth (first row) and with.
    """

    table: FrameTable
    boundary: np.ndarray
    calibration: np.ndarray
    flicker: np.ndarray


class ModelScorer:
    """Takes the frames of one bag that the model labelled, in order."""

    def __init__(self, model: str, class_set: ClassSet) -> None:
        """Start with no frame."""
        self._model = model
        self._class_set = class_set
        self._rows = FrameTableBuilder(class_set.num_classes)
        self._boundary = BoundaryScore(class_set.num_classes)
        self._calibration = Calibration()
        self._flicker = (TemporalConsistency(), TemporalConsistency())  # without truth, and with
        self._previous: LabelledFrame | None = None

    def add(self, frame: LabelledFrame) -> float:
        """Score one frame; its mIoU, nan without truth.

        Raises `ErfSegError` naming the frame if its truth is of another class set.
        """
        truth = frame.truth_of(self._model)
        boundary, confusion = float("nan"), None
        if truth is not None:
            confusion = self._confusion(frame, truth)
            boundary = self._boundary.update(frame.results[self._model].labels, truth)
        self._rows.add(
            frame.index,
            frame.stamp_ns,
            frame.times_ms[self._model],
            self._flicker_since_previous(frame, truth),
            boundary,
            confusion,
        )
        self._previous = frame
        return float("nan") if confusion is None else float(frame_miou(confusion[np.newaxis])[0])

    def counts(self) -> ModelCounts:
        """What was counted so far."""
        return ModelCounts(
            table=self._rows.table(),
            boundary=self._boundary.counts,
            calibration=self._calibration.counts,
            flicker=np.array([(f.changed, f.compared) for f in self._flicker], np.int64),
        )

    def _confusion(self, frame: LabelledFrame, truth: np.ndarray) -> np.ndarray:
        result = frame.results[self._model]
        counts = ConfusionMatrix(self._class_set.num_classes)
        try:
            counts.update(result.labels, truth)
        except ErfSegError as error:
            where = f"frame {frame.index} (stamp {frame.stamp_ns})"
            raise ErfSegError(f"{where}: {error}") from error
        if result.confidence is not None:
            self._calibration.update(result.labels, result.confidence, truth)
        return counts.matrix

    def _flicker_since_previous(self, frame: LabelledFrame, truth: np.ndarray | None) -> float:
        """Only between neighbours: a frame without label between two hides what happened."""
        before = self._previous
        if before is None or before.index != frame.index - 1:
            return float("nan")
        labels, earlier = frame.results[self._model].labels, before.results[self._model].labels
        earlier_truth = before.truth_of(self._model)
        if labels.shape != earlier.shape or (truth is None) != (earlier_truth is None):
            return float("nan")
        counter = self._flicker[truth is not None]
        return counter.update(earlier, labels, earlier_truth, truth)
