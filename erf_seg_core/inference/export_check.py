"""Compare an exported file with the network it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import onnxruntime
import torch

from ..errors import ErfSegError
from ..models import STRIDE, SegmentationNetwork
from .export import Exported
from .onnx_graph import IMAGE_NAME, Output


@dataclass(frozen=True)
class Agreement:
    """How near the file, run by ONNX Runtime on the CPU, is to the network in PyTorch (float32).

    `labels`: share of pixels with the same label. `logits`: largest difference as a share of the
    logits' range, `confidence`: mean difference in steps of 1/255; None for files without.
    """

    labels: float
    logits: float | None = None
    confidence: float | None = None

    def within(self, tolerance: Agreement) -> bool:
        """Whether each value is as near as `tolerance` asks for; what is no number is not."""
        return self.labels >= tolerance.labels and all(
            own is None or own <= bound
            for own, bound in (
                (self.logits, tolerance.logits),
                (self.confidence, tolerance.confidence),
            )
        )

    def worst(self, other: Agreement) -> Agreement:
        """The larger differences of the two, which are of one file."""
        return Agreement(
            min(self.labels, other.labels),
            None if self.logits is None else _larger(self.logits, other.logits),
            None if self.confidence is None else _larger(self.confidence, other.confidence),
        )


TOLERANCES = {
    "float32": Agreement(0.999, 1e-4, 0.1),  # sums in another order
    "float16": Agreement(0.99, 1e-2, 2.0),  # rounds at 1/2048, and adds up over the layers
}
"""What a file of a precision must reach."""


def check_export(
    net: SegmentationNetwork, exported: Exported, images_bgr: list[np.ndarray]
) -> Agreement:
    """Run both on images H×W×3 uint8 BGR of any size; the worst image counts.

    A file of dynamic size is tried at a second one, one of a dynamic batch with all images at once.
    Raises `ErfSegError` if ONNX Runtime refuses the file.
    """
    try:
        session = onnxruntime.InferenceSession(
            str(exported.path), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no base class
        raise ErfSegError(f"ONNX Runtime cannot load {exported.path}: {error}") from error
    agreements = [
        _compare(net, session, exported.options.output, batch)
        for batch in _batches(exported, images_bgr)
    ]
    return reduce(Agreement.worst, agreements)


def _batches(exported: Exported, images_bgr: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Images N×h×w×3 in the numbers and sizes that the file must take."""
    height, width = exported.input_size
    sizes = [(height, width)]
    if exported.options.dynamic_size:
        sizes.append((height + STRIDE, width + 2 * STRIDE))
    together = len(images_bgr) if exported.options.dynamic_batch else 1
    for h, w in sizes:
        resized = [cv2.resize(i, (w, h), interpolation=cv2.INTER_AREA) for i in images_bgr]
        for first in range(0, len(resized), together):
            yield np.stack(resized[first : first + together])


def _compare(
    net: SegmentationNetwork,
    session: onnxruntime.InferenceSession,
    output: Output,
    batch: np.ndarray,
) -> Agreement:
    truth = _logits(net, batch)
    if output == "logits":
        (logits,) = session.run(None, {IMAGE_NAME: _planes(batch).numpy()})
        error = float(np.abs(logits - truth).max() / np.ptp(truth))
        return Agreement(float((logits.argmax(1) == truth.argmax(1)).mean()), logits=error)
    labels, *sureness = session.run(None, {IMAGE_NAME: batch})
    same = float((labels == truth.argmax(1)).mean())
    if not sureness:
        return Agreement(same)
    expected = 255 * torch.from_numpy(truth).softmax(1).amax(1).numpy()
    return Agreement(same, confidence=float(np.abs(sureness[0] - expected.round()).mean()))


def _larger(a: float, b: float) -> float:
    """The larger one; what is no number is larger than any, and `max` would lose it."""
    return float(np.maximum(a, b))


def _planes(images_bgr: np.ndarray) -> torch.Tensor:
    """N×h×w×3 bytes to N×3×h×w RGB in [0, 1]."""
    rgb = np.ascontiguousarray(images_bgr[..., ::-1].transpose(0, 3, 1, 2))
    return torch.from_numpy(rgb).float() / 255


def _logits(net: SegmentationNetwork, images_bgr: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net.eval()(_planes(images_bgr)).numpy()
