"""Compare an exported file with the network it was made of."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime
import torch

from ..errors import ErfSegError
from ..models import SegmentationNetwork
from .export import Exported
from .onnx_graph import IMAGE_NAME

LOGITS_TOLERANCE = 1e-4
"""Of the logits' range: float32 sums in another order differ by less in a trained network."""
LABELS_AGREEMENT = 0.999


@dataclass(frozen=True)
class Agreement:
    """How near the file, run by ONNX Runtime on the CPU, is to the network in PyTorch (float32).

    `labels`: share of pixels with the same label. `logits`: largest difference as a share of the
    logits' range; None for files that have no logits.
    """

    labels: float
    logits: float | None

    @property
    def exact(self) -> bool:
        """Within what another order of summation may do."""
        close = self.logits is None or self.logits <= LOGITS_TOLERANCE
        return close and self.labels >= LABELS_AGREEMENT


def check_export(
    net: SegmentationNetwork, exported: Exported, images_bgr: list[np.ndarray]
) -> Agreement:
    """Run both on images H×W×3 uint8 BGR of any size; the worst image counts.

    Raises `ErfSegError` if ONNX Runtime refuses the file.
    """
    try:
        session = onnxruntime.InferenceSession(
            str(exported.path), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no base class
        raise ErfSegError(f"ONNX Runtime cannot load {exported.path}: {error}") from error
    height, width = exported.input_size
    results = []
    for image in images_bgr:
        batch = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[np.newaxis]
        truth = _logits(net, batch)
        if exported.options.output == "logits":
            (logits,) = session.run(None, {IMAGE_NAME: _planes(batch).numpy()})
            error = float(np.abs(logits - truth).max() / np.ptp(truth))
            labels = logits.argmax(1)
        else:
            error, labels = None, session.run(None, {IMAGE_NAME: batch})[0]
        results.append((float((labels == truth.argmax(1)).mean()), error))
    errors = [error for _, error in results if error is not None]
    return Agreement(min(share for share, _ in results), max(errors, default=None))


def _planes(images_bgr: np.ndarray) -> torch.Tensor:
    """N×h×w×3 bytes to N×3×h×w RGB in [0, 1]."""
    rgb = np.ascontiguousarray(images_bgr[..., ::-1].transpose(0, 3, 1, 2))
    return torch.from_numpy(rgb).float() / 255


def _logits(net: SegmentationNetwork, images_bgr: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net.eval()(_planes(images_bgr)).numpy()
