"""From an image of any size to labels of its size: what the node and the tools call."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..checkpoint import CheckpointInfo, build_from_checkpoint
from ..class_sets import VOID_ID, ClassSet
from ..errors import ErfSegError
from ..models import STRIDE, SegmentationNetwork
from .engine import Engine, create_engine

STAGES = ("preprocess", "network", "postprocess")


@dataclass
class Segmentation:
    """Result for one image.

    `labels` H×W uint8: class ids, 255 is void. `confidence` H×W uint8: round(255 · probability of
    the winning output), or None if it was not asked for. `timing`: milliseconds per stage.
    """

    labels: np.ndarray
    confidence: np.ndarray | None
    timing: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """A network with its weights, ready to label images. Meant for one thread at a time."""

    def __init__(
        self,
        net: SegmentationNetwork,
        info: CheckpointInfo,
        device: str = "auto",
        engine: str = "auto",
        input_size: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> None:
        """Prepare a network that is already loaded; `load_segmenter` loads one by name."""
        self.info = info
        self.input_size = checked_input_size(input_size or info.input_size)
        self._engine: Engine | None = create_engine(net, self.input_size, engine, device, threads)
        self.engine_name = self._engine.name
        self.device = self._engine.device
        # Outputs beyond the class map are void: Cityscapes networks have a twentieth for it.
        self._label_of_output = np.arange(256, dtype=np.uint8)
        self._label_of_output[self.class_set.num_classes :] = VOID_ID
        self._has_void_output = info.num_outputs > self.class_set.num_classes

    @property
    def class_set(self) -> ClassSet:
        """Names and colours of the labels."""
        return self.info.class_set

    def __call__(
        self,
        image_bgr: np.ndarray,
        *,
        confidence: bool = True,
        label_size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Label one image.

        Args:
            image_bgr: H×W×3 uint8, blue first, of any size; it need not be contiguous.
            confidence: whether to compute it too; it costs a tenth of a light network's time.
            label_size: (height, width) of the result; None for the image's own.

        Raises:
            ErfSegError: the image or the size is not like that, or the segmenter is closed.

        """
        if self._engine is None:
            raise ErfSegError("this segmenter is closed; load it again")
        start = time.perf_counter()
        image = _checked_image(image_bgr)
        height, width = _checked_label_size(label_size or image.shape[:2])
        batch = _resize_image(image, self.input_size)[np.newaxis]
        prepared = time.perf_counter()
        labels, sureness = self._engine.run(batch, confidence)
        labelled = time.perf_counter()
        small = labels[0]
        if self._has_void_output:
            small = cv2.LUT(small, self._label_of_output)
        result = Segmentation(
            labels=_resize_labels(small, (height, width)),
            confidence=None if sureness is None else _resize_labels(sureness[0], (height, width)),
        )
        times = (start, prepared, labelled, time.perf_counter())
        for stage, begin, end in zip(STAGES, times, times[1:], strict=False):
            result.timing[stage] = 1000.0 * (end - begin)
        return result

    def warm_up(self, n: int = 2) -> None:
        """Run `n` black frames with and without confidence, so that no real frame pays for it."""
        black = np.zeros((*self.input_size, 3), np.uint8)
        for _ in range(n):
            self(black, confidence=True)
            self(black, confidence=False)

    def close(self) -> None:
        """Free the engine; calls afterwards raise `ErfSegError`. May be called twice."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def load_segmenter(
    model: str | Path = "dg4",
    device: str = "auto",
    engine: str = "auto",
    input_size: tuple[int, int] | None = None,
    threads: int | None = None,
) -> Segmenter:
    """Load a trained network for labelling images.

    Args:
        model: a model whose weights are shipped, or the path of a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:1".
        engine: "auto" (the fastest that works here), "torch", "onnxruntime" or "tensorrt".
        input_size: (height, width) at which the network sees images, multiples of 8; None for the
            checkpoint's.
        threads: CPU threads; None for one per physical core.

    Raises:
        ErfSegError: unknown model, unreadable checkpoint, bad size, missing engine or device.

    """
    net, info = build_from_checkpoint(model)
    return Segmenter(net, info, device, engine, input_size, threads)


def checked_input_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the network's input size; `ErfSegError` names the nearest one that is possible."""
    try:
        height, width = (int(value) for value in size)
    except (TypeError, ValueError):
        raise ErfSegError(f"input size {size!r} is not (height, width)") from None
    if height < 1 or width < 1 or height % STRIDE or width % STRIDE:
        near = tuple(max(STRIDE, round(value / STRIDE) * STRIDE) for value in (height, width))
        raise ErfSegError(
            f"input size {height}×{width} (height×width) must be multiples of {STRIDE}; "
            f"the nearest is {near[0]}×{near[1]}"
        )
    return height, width


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring an image to the network's size (height, width), contiguous.

    Bilinear takes 1 ms for 1280×720; averaging over areas takes 6, so it is kept for images more
    than twice as large, where bilinear would skip pixels altogether.
    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    shrink = max(image.shape[0] / size[0], image.shape[1] / size[1])
    method = cv2.INTER_AREA if shrink > 2.0 else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=method)


def _resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour between pixel centres, as the image was resized.

    OpenCV's INTER_NEAREST rounds towards the top left, which shifts labels by up to half a pixel.
    """
    if labels.shape == size:
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def _checked_image(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        raise ErfSegError(f"the image must be a NumPy array, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ErfSegError(
            f"the image must be H×W×3 uint8 in BGR order, not {image.dtype} of shape {image.shape}"
        )
    # OpenCV reads rows with padding as they are; anything else (mirrored, RGB views) it refuses.
    plain = image.strides[2] == 1 and image.strides[1] == 3 and image.strides[0] > 0
    return image if plain else np.ascontiguousarray(image)


def _checked_label_size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if height < 1 or width < 1:
        raise ErfSegError(f"label size {height}×{width} (height×width) must be at least 1×1")
    return int(height), int(width)
