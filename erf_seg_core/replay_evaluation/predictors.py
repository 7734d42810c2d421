"""Who labels a frame: a network here, or a recording of what the node did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..checkpoint import CheckpointInfo
from ..class_sets import ClassSet
from ..errors import EngineError
from ..inference import Segmentation, Segmenter, load_segmenter
from .labelled_frame import offline_times
from .options import EvaluationOptions
from .recorded_frames import RecordedFrame

Labelled = tuple[Segmentation, dict[str, float]]
"""Labels, and the frame's times by name in milliseconds, nan for those that nobody took."""


class Predictor(Protocol):
    """Labels the frames of a bag in order."""

    info: CheckpointInfo
    class_set: ClassSet
    engine: str
    device: str
    side_by_side: int
    """From how many frames on `untimed` is faster than one by one; 1 if it cannot be used."""

    def __call__(self, frame: RecordedFrame, size: tuple[int, int]) -> Labelled | None:
        """Labels of (height, width) `size` and the frame's times; None if it has no label."""
        ...

    def untimed(
        self, frames: Sequence[RecordedFrame], size: tuple[int, int]
    ) -> Sequence[Labelled | None]:
        """Label several frames, all with the same `size`; nobody asks for the times."""
        ...


class SegmenterPredictor:
    """A network that labels every frame."""

    def __init__(self, segmenter: Segmenter) -> None:
        """Use a segmenter that is loaded; the first frames must not pay for its warming up."""
        self.info = segmenter.info
        self.class_set = segmenter.class_set
        self.engine = segmenter.engine_name
        self.device = segmenter.device
        self.side_by_side = segmenter.side_by_side
        self.broken = False
        self._segmenter = segmenter
        segmenter.warm_up(1)
        if self.side_by_side > 1:
            black = np.zeros((*segmenter.input_size, 3), np.uint8)
            segmenter.batch([black] * self.side_by_side)

    def __call__(self, frame: RecordedFrame, size: tuple[int, int]) -> Labelled:
        """Label the frame."""
        (result,) = self._batch([frame], size)
        return result, offline_times(frame.convert_ms, result.timing)

    def untimed(self, frames: Sequence[RecordedFrame], size: tuple[int, int]) -> list[Labelled]:
        """Label frames side by side: all are done sooner, but each has had but one thread."""
        results = self._batch(frames, size)
        return [
            (result, offline_times(frame.convert_ms, result.timing))
            for frame, result in zip(frames, results, strict=True)
        ]

    def _batch(self, frames: Sequence[RecordedFrame], size: tuple[int, int]) -> list[Segmentation]:
        try:
            return self._segmenter.batch([f.image_bgr for f in frames], label_size=size)
        except EngineError:
            self.broken = True
            raise


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
        """The network of a model, anew if it broke. Raises what `load_segmenter` does."""
        wanted = _Wanted(model, options.engine, options.device, threads)
        if wanted not in self._loaded or self._loaded[wanted].broken:
            segmenter = load_segmenter(model, options.device, options.engine, threads=threads)
            self._loaded[wanted] = SegmenterPredictor(segmenter)
        return self._loaded[wanted]
