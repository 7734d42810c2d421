"""A frame with what the models made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..inference import Segmentation
from ..inference.segmenter import STAGES as SEGMENTER_STAGES
from .recorded_frames import RecordedFrame

STAGES = ("convert", *SEGMENTER_STAGES)
"""Parts of a frame's time offline, milliseconds each; "total" is their sum."""


@dataclass(frozen=True)
class LabelledFrame:
    """One recorded frame, its picture whole.

    `results` by model; a model without one did not label the frame. `times_ms` by model: of each
    stage, and the time that the report calls the frame's. `truth` has the truth for each model
    that can be scored on this frame.
    """

    recorded: RecordedFrame
    results: Mapping[str, Segmentation]
    times_ms: Mapping[str, dict[str, float]]
    truth: Mapping[str, np.ndarray]

    @property
    def index(self) -> int:
        """Which frame of the topic it is."""
        return self.recorded.index

    @property
    def stamp_ns(self) -> int:
        """Its header stamp."""
        return self.recorded.stamp_ns

    @property
    def image_bgr(self) -> np.ndarray:
        """Picture, H×W×3 uint8."""
        return self.recorded.image_bgr

    def truth_of(self, model: str) -> np.ndarray | None:
        """What the model is scored against, or None."""
        return self.truth.get(model)


def offline_times(convert_ms: float, timing: Mapping[str, float]) -> dict[str, float]:
    """Times of a frame that the Segmenter labelled here."""
    times = {"convert": convert_ms, **timing}
    return {**times, "total": sum(times.values())}


def not_timed(times_ms: Mapping[str, float]) -> dict[str, float]:
    """The same with nan for all that the machine did while it was busy with other frames."""
    return {name: ms if name == "convert" else math.nan for name, ms in times_ms.items()}


def network_ms(times_ms: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """What the Segmenter itself took of each frame; None for labels that were recorded live."""
    parts = [times_ms.get(stage) for stage in SEGMENTER_STAGES]
    return None if any(part is None for part in parts) else sum(parts)
