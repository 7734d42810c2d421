"""Frames as pictures inside the report: camera image, truth and predictions side by side."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..class_sets import ClassSet
from ..evaluation.over_time import WorstFrames
from ..label_size import resize_labels
from ..overlay import blend
from .matched_frames import MatchedFrame

LARGEST_WIDTH = 400
"""Three side by side fill a page; more pixels only make the file heavy."""

WORST = 4
"""Frames with the lowest scores that are shown."""

_JPEG_QUALITY = 80
_OPACITY = 0.65  # classes first, but the road under them can still be seen


@dataclass(frozen=True)
class Strip:
    """Data URIs of one frame's pictures: the image, then truth and predictions over the image.

    `truth` is empty where there is none; `predictions` is by the name of the model, with an empty
    one where a model has no label. `note` is what the caption adds to the time.
    """

    stamp_ns: int
    image: str
    truth: str
    predictions: Mapping[str, str]
    bag: str = ""
    note: str = ""


def make_strip(
    stamp_ns: int,
    image_bgr: np.ndarray,
    truth: np.ndarray | None,
    predictions: Mapping[str, np.ndarray | None],
    class_set: ClassSet,
    bag: str = "",
    note: str = "",
) -> Strip:
    """Shrink and encode one frame: image uint8 H×W×3 BGR, labels uint8 of any size.

    Labels are in `class_set`.
    """
    image = _fitted(image_bgr)

    def over_image(labels: np.ndarray | None) -> str:
        if labels is None:
            return ""
        # Shrunk before it is coloured: a mixture of two classes' colours is no class's colour.
        return _jpeg_uri(blend(image, resize_labels(labels, image.shape[:2]), class_set, _OPACITY))

    pictures = {name: over_image(labels) for name, labels in predictions.items()}
    return Strip(stamp_ns, _jpeg_uri(image), over_image(truth), pictures, bag, note)


class StripCollector:
    """Keeps the pictures of the chosen frames of a replay, and of the worst."""

    def __init__(
        self, model: str, class_set: ClassSet, stamps_ns: Collection[int], apart: int
    ) -> None:
        """Choose frames by stamp; of the worst, no two are closer than `apart` frames."""
        self.strips: list[Strip] = []
        self._model = model
        self._class_set = class_set
        self._stamps_ns = frozenset(stamps_ns)
        self._worst = WorstFrames[Strip](WORST, apart)
        self._seen = 0

    def add(self, frame: MatchedFrame, miou: float) -> None:
        """Keep the frame if it is one of the chosen, or one of the worst."""
        if frame.stamp_ns in self._stamps_ns:
            self.strips.append(self._strip(frame, ""))
        note = f"{100 * miou:.1f} % mIoU"
        self._worst.add(self._seen, miou, lambda: self._strip(frame, note))
        self._seen += 1

    def worst(self) -> list[Strip]:
        """The worst frames, the worst first."""
        return [frame.kept for frame in self._worst.worst_first()]

    def _strip(self, frame: MatchedFrame, note: str) -> Strip:
        is_label = frame.truth is not None and frame.truth.ndim == 2
        truth = frame.truth if is_label and frame.truth.dtype == np.uint8 else None
        predictions = {self._model: frame.labels}
        return make_strip(
            frame.stamp_ns, frame.image_bgr, truth, predictions, self._class_set, note=note
        )


def spread(stamps_ns: Sequence[int], count: int) -> list[int]:
    """At most `count` of the stamps, evenly spread from the first to the last."""
    if len(stamps_ns) <= count:
        return list(stamps_ns)
    return [stamps_ns[i] for i in np.linspace(0, len(stamps_ns) - 1, count).round().astype(int)]


def _fitted(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _jpeg_uri(image: np.ndarray) -> str:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
