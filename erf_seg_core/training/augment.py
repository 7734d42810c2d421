"""Random views of a labelled image, in one warp and one table look-up."""

from __future__ import annotations

import cv2
import numpy as np

from ..class_sets import VOID_ID
from .recipe import Augmentation


def random_view(
    image: np.ndarray,
    label: np.ndarray | None,
    input_height: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale, crop, flip and recolour.

    Takes uint8 BGR H×W×3 and uint8 H×W (or None); returns both at `settings.crop`. Scale 1 is the
    size at which the image is `input_height` high. What lies outside the image is black and void.
    """
    h, w = image.shape[:2]
    crop_h, crop_w = settings.crop
    scale = rng.uniform(*settings.scale) * input_height / h
    left = _random_offset(w * scale, crop_w, rng)
    top = _random_offset(h * scale, crop_h, rng)
    if settings.shift:
        left, top = np.array([left, top]) + rng.integers(-settings.shift, settings.shift + 1, 2)
    flip = settings.flip and rng.random() < 0.5
    # Rows map crop pixel centres to image pixel centres (inverse map), as cv2.resize does.
    inverse = np.array(
        [[1 / scale, 0, (left + 0.5) / scale - 0.5], [0, 1 / scale, (top + 0.5) / scale - 0.5]]
    )
    if flip:
        inverse = inverse @ np.array([[-1, 0, crop_w - 1], [0, 1, 0], [0, 0, 1]])
    size, mode = (crop_w, crop_h), cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(image, inverse, size, flags=cv2.INTER_LINEAR | mode)
    view = _recolour(view, settings, rng)
    if label is None:
        return view, None
    return view, cv2.warpAffine(
        label, inverse, size, flags=cv2.INTER_NEAREST | mode, borderValue=VOID_ID
    )


def _random_offset(length: float, crop: int, rng: np.random.Generator) -> float:
    """Start of the crop; a shorter image lies somewhere inside it."""
    slack = length - crop
    return rng.uniform(min(0.0, slack), max(0.0, slack))


def _recolour(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    def around_one(width: float) -> float:
        return float(rng.uniform(1 - width, 1 + width))

    if settings.saturation:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = around_one(settings.saturation)
        image = cv2.addWeighted(image, share, grey, 1 - share, 0)
    gain, contrast = around_one(settings.brightness), around_one(settings.contrast)
    tint = np.array([around_one(settings.tint) for _ in range(3)])
    levels = np.arange(256)[:, None]
    table = ((levels - 128) * contrast + 128) * gain * tint
    return cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[:, None, :])
