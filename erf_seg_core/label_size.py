"""Labels, or what belongs to them pixel by pixel, at another size."""

from __future__ import annotations

import cv2
import numpy as np


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize of uint8 H×W(×C) to (height, width), between centres as in images.

    OpenCV's INTER_NEAREST rounds towards the top left, which shifts labels by up to half a pixel.
    """
    if labels.shape[:2] == tuple(size):
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
