"""Pictures kept while the frames stream by: some spread over the bag, and each model's worst."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from ..class_sets import ClassSet
from ..evaluation.over_time import WorstFrames
from ..report.pictures import Strip, make_strip
from .labelled_frame import LabelledFrame

WORST = 6
"""Frames with the lowest scores of which pictures are kept, for each model."""

APART = 15
"""Frames between two of them, about a second."""


class _Later:
    """A frame whose pictures are made when they are needed, once, for all who want them."""

    def __init__(self, frame: LabelledFrame, make: Callable[[LabelledFrame], Strip]) -> None:
        self._frame: LabelledFrame | None = frame
        self._make = make
        self._strip: Strip | None = None

    def strip(self) -> Strip:
        """The pictures; from the first call on, the frame itself is not held any more."""
        if self._strip is None:
            self._strip, self._frame = self._make(self._frame), None
        return self._strip


class FramePictures:
    """Takes every frame in order, keeps the pictures of few.

    A frame among the worst is often ousted by a neighbour that is worse still. So pictures are made
    only when no neighbour can follow; until then the frame is held, for each model one at most.
    """

    def __init__(
        self, bag: str, class_sets: Mapping[str, ClassSet], shown: Collection[int]
    ) -> None:
        """`class_sets` by model; `shown` are indices of frames that are kept in any case."""
        self.shown: list[Strip] = []
        self._bag = bag
        self._class_sets = class_sets
        self._shown_indices = frozenset(shown)
        self._worst: dict[str, WorstFrames[_Later]] = {
            model: WorstFrames(WORST, APART) for model in class_sets
        }

    def add(self, frame: LabelledFrame, scores: Mapping[str, float]) -> None:
        """Consider a frame; `scores` are its mIoU by model, nan without truth."""
        later = _Later(frame, self._strip)
        if frame.index in self._shown_indices:
            self.shown.append(later.strip())
        for model, score in scores.items():
            self._worst[model].add(frame.index, score, lambda: later)
        self._make_settled(frame.index)

    def worst(self, model: str) -> list[tuple[float, Strip]]:
        """(mIoU, pictures) of the model's worst frames, the worst first."""
        return [
            (frame.score, replace(frame.kept.strip(), note=f"{100 * frame.score:.1f} % mIoU"))
            for frame in self._worst[model].worst_first()
        ]

    def _make_settled(self, index: int) -> None:
        """Make the pictures of the frames that no frame after `index` is a neighbour of."""
        for worst in self._worst.values():
            for frame in worst.worst_first():
                if index - frame.index >= APART - 1:
                    frame.kept.strip()

    def _strip(self, frame: LabelledFrame) -> Strip:
        """All models side by side, each in the colours of its own class set."""
        strips = [
            make_strip(
                frame.stamp_ns,
                frame.image_bgr,
                frame.truth_of(model),
                {model: frame.results[model].labels if model in frame.results else None},
                class_set,
                self._bag,
            )
            for model, class_set in self._class_sets.items()
        ]
        predictions = {k: v for strip in strips for k, v in strip.predictions.items()}
        with_truth = next((strip for strip in strips if strip.truth), strips[0])
        return replace(with_truth, predictions=predictions)
