"""Who labels a frame: a network here, or a recording of what the node did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..checkpoint import CheckpointInfo
from ..class_sets import ClassSet
from ..inference import Segmentation, Segmenter, load_segmenter
from .labelled_frame import offline_times
from .options import EvaluationOptions
from .recorded_frames import RecordedFrame


class Predictor(Protocol):
    """Labels the frames of a bag in order."""

    info: CheckpointInfo
    class_set: ClassSet
    engine: str
    device: str

    def __call__(
        self, frame: RecordedFrame, size: tuple[int, int]
    ) -> tuple[Segmentation, dict[str, float]] | None:
        """Labels of (height, width) `size` and the frame's times; None if it has no label."""
        ...


class SegmenterPredictor:
    """A network that labels every frame."""

    def __init__(self, segmenter: Segmenter) -> None:
        """Use a segmenter that is loaded; the first frames must not pay for its warming up."""
        self.info = segmenter.info
        self.class_set = segmenter.class_set
        self.engine = segmenter.engine_name
        self.device = segmenter.device
        self._segmenter = segmenter
        segmenter.warm_up(1)

    def __call__(
        self, frame: RecordedFrame, size: tuple[int, int]
    ) -> tuple[Segmentation, dict[str, float]]:
        """Label the frame."""
        result = self._segmenter(frame.image_bgr, label_size=size)
        return result, offline_times(frame.convert_ms, result.timing)


@dataclass(frozen=True)
class _Wanted:
    model: str
    engine: str
    device: str
    threads: int | None


class Networks:
    """Networks of a process, each loaded when it is first needed and kept for later bags."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._loaded: dict[_Wanted, SegmenterPredictor] = {}

    def get(self, model: str, options: EvaluationOptions, threads: int | None) -> Predictor:
        """The network of a model. Raises `ErfSegError` as `load_segmenter` does."""
        wanted = _Wanted(model, options.engine, options.device, threads)
        if wanted not in self._loaded:
            segmenter = load_segmenter(model, options.device, options.engine, threads=threads)
            self._loaded[wanted] = SegmenterPredictor(segmenter)
        return self._loaded[wanted]
