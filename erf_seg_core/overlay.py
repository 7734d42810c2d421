"""Labels as pictures: colours, the blend over the camera image, and the legend."""

from __future__ import annotations

import cv2
import numpy as np

from .class_sets import ClassSet
from .errors import ErfSegError

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.5
_ROW = 24  # pixels per legend row: a line of this font with air above and below
_SWATCH = 16
_GAP = 8
_BACKGROUND = 255
_INK = (0, 0, 0)
_OUTLINE = (96, 96, 96)  # keeps swatches of light colours visible on the white background


def colorize(labels: np.ndarray, class_set: ClassSet) -> np.ndarray:
    """Labels H×W uint8 → their colours H×W×3 uint8 BGR; void (and any unused id) is black."""
    _check_labels(labels)
    # One lookup of four bytes for each pixel: half the time of OpenCV's colour maps, and many times
    # faster than indexing the palette with NumPy.
    words = np.zeros((256, 4), np.uint8)
    words[:, :3] = class_set.palette_bgr()
    found = cv2.LUT(labels, words.view(np.int32).ravel())
    return cv2.cvtColor(found.view(np.uint8).reshape(*labels.shape, 4), cv2.COLOR_BGRA2BGR)


def blend(
    image_bgr: np.ndarray, labels: np.ndarray, class_set: ClassSet, alpha: float = 0.5
) -> np.ndarray:
    """Colours of the labels over the image, H×W×3 uint8 BGR; void shows the image unchanged.

    Args:
        image_bgr: H×W×3 uint8.
        labels: h×w uint8; enlarged or reduced to the image's size where it differs.
        class_set: names and colours of the ids.
        alpha: weight of the colours, 0 (image only) to 1 (colours only).

    Raises:
        ErfSegError: wrong type or shape, or alpha outside 0 to 1.

    """
    _check_labels(labels)
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
        raise ErfSegError(
            f"an overlay needs an H×W×3 uint8 image, not {image_bgr.shape} {image_bgr.dtype}"
        )
    if not 0.0 <= alpha <= 1.0:
        raise ErfSegError(f"overlay alpha is {alpha}; it must lie between 0 and 1")
    height, width = image_bgr.shape[:2]
    if labels.shape != (height, width):
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    colors = colorize(labels, class_set)
    blended = cv2.addWeighted(image_bgr, 1.0 - alpha, colors, alpha, 0.0)
    void = labels >= class_set.num_classes  # OpenCV's comparison refuses a single pixel
    return cv2.copyTo(image_bgr, void.view(np.uint8), blended)


def legend(class_set: ClassSet, width: int) -> np.ndarray:
    """Swatch and name of every class in as many columns as fit, h×width×3 uint8 BGR on white.

    Names that are too long for a single column are cut.
    """
    around = _SWATCH + 3 * _GAP
    names = [_fitting(name, width - around) for name in class_set.names]
    columns = max(1, width // (around + max(map(_text_width, names))))
    rows = -(-class_set.num_classes // columns)
    picture = np.full((rows * _ROW + _GAP, width, 3), _BACKGROUND, np.uint8)
    colors = class_set.palette_bgr()
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        left = _GAP + column * (width // columns)
        top = _GAP // 2 + row * _ROW + (_ROW - _SWATCH) // 2
        box = (left, top, _SWATCH, _SWATCH)
        cv2.rectangle(picture, box, tuple(map(int, colors[index])), cv2.FILLED)
        cv2.rectangle(picture, box, _OUTLINE, 1)
        baseline = (left + _SWATCH + _GAP, top + _SWATCH - 4)
        cv2.putText(picture, name, baseline, _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return picture


def _fitting(name: str, room: int) -> str:
    """Return as much of a name as fits."""
    if _text_width(name) <= room:
        return name
    while name and _text_width(f"{name}...") > room:
        name = name[:-1]
    return name and f"{name}..."


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0][0]


def _check_labels(labels: np.ndarray) -> None:
    if labels.dtype != np.uint8 or labels.ndim != 2 or labels.size == 0:
        raise ErfSegError(f"labels must be H×W uint8, not {labels.shape} {labels.dtype}")
