"""Frames as pictures inside the report: camera image, truth and prediction side by side."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..class_sets import ClassSet
from ..evaluation.scoring import resize_labels
from ..overlay import colorize
from .matched_frames import MatchedFrame

LARGEST_WIDTH = 480
"""Three side by side fill a page; more pixels only make the file heavy."""

_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Strip:
    """Data URIs of one frame's pictures; truth and prediction are empty where there is none."""

    stamp_ns: int
    image: str
    truth: str
    prediction: str


class StripCollector:
    """Keeps the pictures of the chosen frames."""

    def __init__(self, class_set: ClassSet, stamps_ns: Collection[int], show_truth: bool) -> None:
        """Choose frames by stamp; without `show_truth` the truth is in classes of another set."""
        self._class_set = class_set
        self._stamps_ns = frozenset(stamps_ns)
        self._show_truth = show_truth
        self.strips: list[Strip] = []

    def add(self, frame: MatchedFrame) -> None:
        """Keep the frame if it is one of the chosen."""
        if frame.stamp_ns not in self._stamps_ns:
            return
        truth = frame.truth if self._show_truth else None
        image = _jpeg_uri(_fitted(frame.image_bgr))
        self.strips.append(
            Strip(frame.stamp_ns, image, self._colors(truth), self._colors(frame.labels))
        )

    def _colors(self, labels: np.ndarray | None) -> str:
        if labels is None:
            return ""
        # Shrunk before it is coloured: a mixture of two classes' colours is no class's colour.
        return _png_uri(colorize(resize_labels(labels, _fitted_size(labels)), self._class_set))


def spread(stamps_ns: Sequence[int], count: int) -> list[int]:
    """At most `count` of the stamps, evenly spread from the first to the last."""
    if len(stamps_ns) <= count:
        return list(stamps_ns)
    return [stamps_ns[i] for i in np.linspace(0, len(stamps_ns) - 1, count).round().astype(int)]


def _fitted_size(picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    scale = min(1.0, LARGEST_WIDTH / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _fitted(image: np.ndarray) -> np.ndarray:
    height, width = _fitted_size(image)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _jpeg_uri(image: np.ndarray) -> str:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _uri("image/jpeg", encoded.tobytes())


def _png_uri(image: np.ndarray) -> str:
    _, encoded = cv2.imencode(".png", image)
    return _uri("image/png", encoded.tobytes())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
