"""Predictions as label PNGs, for official evaluators and for looking at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..class_sets import VOID_ID
from ..errors import ErfSegError, make_folder

CITYSCAPES_TRAIN_IDS = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12},
    **{26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18},
}
"""Train id by official labelId, 19 evaluated classes (cityscapesscripts, helpers/labels.py)."""


def to_cityscapes_ids(labels: np.ndarray) -> np.ndarray:
    """Train ids uint8 H×W → official labelIds; void becomes 0, "unlabeled"."""
    table = np.zeros(256, np.uint8)
    for label_id, train_id in CITYSCAPES_TRAIN_IDS.items():
        table[train_id] = label_id
    if labels.size and np.setdiff1d(labels, [*CITYSCAPES_TRAIN_IDS.values(), VOID_ID]).size:
        raise ErfSegError("these labels are not train ids of the 19 Cityscapes classes")
    return table[labels]


def write_prediction(folder: Path, image_name: str, labels: np.ndarray, cityscapes: bool) -> Path:
    """Write labels uint8 H×W as a PNG named after the image.

    With `cityscapes`, as `CITY_SEQ_FRAME_pred_labelIds.png` in official ids, which is what
    `csEvalPixelLevelSemanticLabeling` looks for.
    """
    stem = Path(image_name).stem
    if cityscapes:
        stem = stem.removesuffix("_leftImg8bit") + "_pred_labelIds"
        labels = to_cityscapes_ids(labels)
    path = folder / f"{stem}.png"
    make_folder(folder)
    _, packed = cv2.imencode(".png", labels)  # `imwrite` crashes over names that are not UTF-8
    try:
        path.write_bytes(packed)
    except OSError as error:
        raise ErfSegError(f"cannot write {path}: {error.strerror}") from error
    return path
