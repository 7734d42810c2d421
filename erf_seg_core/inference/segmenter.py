"""From an image of any size to labels of its size: what the node and the tools call."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import cv2
import numpy as np

from ..checkpoint import CheckpointInfo, build_from_checkpoint
from ..class_map import ClassMap, load_class_map
from ..class_sets import VOID_ID
from ..errors import EngineError, ErfSegError, first_line
from ..label_size import resize_labels
from ..models import STRIDE, SegmentationNetwork
from .engine import Engine, create_engine

_LARGEST_INPUT_SIDE = 16_384  # of what a network sees; a slip is told before memory is asked for
_LARGEST_LABEL_SIDE = 65_535  # of labels, in pixels: no camera has more

STAGES = ("preprocess", "network", "postprocess")


@dataclass
class Segmentation:
    """Result for one image.

    `labels` H×W uint8: class ids, 255 is void. `confidence` H×W uint8: round(255 · probability of
    the winning output), or None if it was not asked for; also where a class map merges outputs
    into one class, whose own probability may be higher. `timing`: milliseconds per stage, of the
    whole batch that the image was part of.
    """

    labels: np.ndarray
    confidence: np.ndarray | None
    timing: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """A network with its weights, ready to label images. Meant for one thread at a time.

    `info` is what its checkpoint says, `class_set` what its labels mean: the checkpoint's, or the
    target of the class map. `input_size` is (height, width).
    """

    def __init__(
        self,
        net: SegmentationNetwork,
        info: CheckpointInfo,
        device: str = "auto",
        engine: str = "auto",
        input_size: tuple[int, int] | None = None,
        threads: int | None = None,
        class_map: ClassMap | None = None,
        precision: str = "auto",
    ) -> None:
        """Prepare a network that is already loaded; `load_segmenter` loads one by name."""
        self.info = info
        self.class_set = class_map.target if class_map else info.class_set
        self.input_size = checked_input_size(info.input_size if input_size is None else input_size)
        self._engine: Engine | None = create_engine(
            net, self.input_size, engine, device, threads, precision
        )
        self.engine_name = self._engine.name
        self.device = self._engine.device
        self.precision = self._engine.precision
        self._label_of_output = _label_table(info, class_map)

    @property
    def gains_from_batches(self) -> bool:
        """Whether a batch is done sooner than the last of its images, labelled in turn, would be.

        Not on a CPU: what `side_by_side` gains there, a batch's first images wait for. TensorRT
        would compile the network anew for each size of batch.
        """
        return self.device != "cpu" and self.engine_name != "tensorrt"

    @property
    def side_by_side(self) -> int:
        """How many images of a batch are labelled at the same time, a CPU thread each.

        Batches of at least so many are labelled faster than one image at a time; 1 if none are.
        """
        return self._engine.side_by_side if self._engine else 1

    def __call__(
        self,
        image_bgr: np.ndarray,
        *,
        confidence: bool = True,
        label_size: tuple[int, int] | None = None,
        min_confidence: float = 0.0,
    ) -> Segmentation:
        """Label one image: H×W×3 uint8, see `batch`."""
        (result,) = self.batch(
            [image_bgr],
            confidence=confidence,
            label_size=label_size,
            min_confidence=min_confidence,
        )
        return result

    def batch(
        self,
        images_bgr: Sequence[np.ndarray],
        *,
        confidence: bool = True,
        label_size: tuple[int, int] | None = None,
        min_confidence: float = 0.0,
    ) -> list[Segmentation]:
        """Label images, of different sizes if need be; one result for each, in their order.

        The labels are those that each image alone would get (on a GPU but for pixels whose best
        two classes are as good as equal, for it may add up in another order).

        Args:
            images_bgr: each H×W×3 uint8, blue first; they need not be contiguous.
            confidence: whether to compute it too; it costs a tenth of a light network's time.
            label_size: (height, width) of the results; None for each image's own.
            min_confidence: pixels whose winning output has a lower probability (0 to 1) become
                void, 255; above 0 it costs what confidence costs.

        Raises:
            ErfSegError: an image, the size or the threshold is not like that, or the segmenter
                is closed.
            EngineError: the engine or its device broke.

        """
        if self._engine is None:
            raise ErfSegError("this segmenter is closed; load it again")
        least = _checked_threshold(min_confidence)
        start = time.perf_counter()
        images = [_checked_image(image) for image in images_bgr]
        if label_size is None:
            sizes = [image.shape[:2] for image in images]
        else:
            sizes = [_checked_label_size(label_size)] * len(images)
        inputs = [_resize_image(image, self.input_size) for image in images]
        prepared = time.perf_counter()
        outputs = list(self._run(inputs, confidence or least > 0))
        labelled = time.perf_counter()
        results = [
            self._finished(labels, sureness, size, least, confidence)
            for (labels, sureness), size in zip(outputs, sizes, strict=True)
        ]
        times = (start, prepared, labelled, time.perf_counter())
        for stage, begin, end in zip(STAGES, times, times[1:], strict=False):
            for result in results:
                result.timing[stage] = 1000.0 * (end - begin)
        return results

    def _run(
        self, inputs: list[np.ndarray], confidence: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Labels and confidence h×w of each input, in as many runs as suit the device."""
        side_by_side = len(inputs) >= self.side_by_side > 1
        together = len(inputs) if self.gains_from_batches or side_by_side else 1
        for first in range(0, len(inputs), together):
            part = inputs[first : first + together]
            stacked = np.stack(part) if len(part) > 1 else part[0][np.newaxis]
            try:
                labels, sureness = self._engine.run(stacked, confidence)
            except Exception as error:  # each runtime has its own kinds
                raise EngineError(
                    f"{self.engine_name} on {self.device} failed: {type(error).__name__}: "
                    f"{first_line(error)}"
                ) from error
            missing = [None] * len(part)
            yield from zip(labels, missing if sureness is None else sureness, strict=True)

    def _finished(
        self,
        labels: np.ndarray,
        sureness: np.ndarray | None,
        size: tuple[int, int],
        least: int,
        confidence: bool,
    ) -> Segmentation:
        """Bring one image's outputs h×w to labels of `size`."""
        if self._label_of_output is not None:
            labels = cv2.LUT(labels, self._label_of_output)
        if least:
            unsure = cv2.compare(sureness, float(least), cv2.CMP_LT)  # 255 where it is true
            labels = cv2.bitwise_or(labels, unsure)
        return Segmentation(
            labels=resize_labels(labels, size),
            confidence=resize_labels(sureness, size) if confidence else None,
        )

    def warm_up(self, n: int = 2, largest_batch: int = 1) -> None:
        """Run `n` black frames with and without confidence, so that no real frame pays for it.

        A GPU prepares itself for each size of batch: it is shown all up to `largest_batch`.
        """
        black = np.zeros((*self.input_size, 3), np.uint8)
        for size in range(1, largest_batch + 1 if self.gains_from_batches else 2):
            for _ in range(n):
                self.batch([black] * size, confidence=True)
                self.batch([black] * size, confidence=False)

    def close(self) -> None:
        """Free the engine; calls afterwards raise `ErfSegError`. May be called twice."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def load_segmenter(
    model: str | Path = "dg4",
    device: str = "auto",
    engine: str = "auto",
    input_size: tuple[int, int] | None = None,
    threads: int | None = None,
    class_map: str | Path | None = None,
    precision: str = "auto",
) -> Segmenter:
    """Load a trained network for labelling images.

    Args:
        model: a model whose weights are shipped, or the path of a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:1".
        engine: "auto" (the fastest that works here), "torch", "onnxruntime" or "tensorrt".
        input_size: (height, width) at which the network sees images, multiples of 8; None for the
            checkpoint's.
        threads: CPU threads; None for one per physical core.
        class_map: YAML file that renames or merges the classes, see `erf_seg_core.class_map`.
        precision: "auto", "fp32", "fp16" (GPUs) or "int8" (CPUs), see `create_engine`.

    Raises:
        ErfSegError: unknown model, unreadable checkpoint or class map, bad size, missing engine or
            device.

    """
    net, info = build_from_checkpoint(model)
    mapping = load_class_map(class_map, info.class_set) if class_map is not None else None
    return Segmenter(net, info, device, engine, input_size, threads, mapping, precision)


def checked_input_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the network's input size; `ErfSegError` names the nearest one that is possible."""
    height, width = _two_whole_numbers("input size", size)
    if height < 1 or width < 1 or height % STRIDE or width % STRIDE:
        near = tuple(max(STRIDE, round(value / STRIDE) * STRIDE) for value in (height, width))
        raise ErfSegError(
            f"input size {height}×{width} (height×width) must be multiples of {STRIDE}; "
            f"the nearest is {near[0]}×{near[1]}"
        )
    if max(height, width) > _LARGEST_INPUT_SIDE:
        raise ErfSegError(
            f"input size {height}×{width} (height×width): a side is at most {_LARGEST_INPUT_SIDE}"
        )
    return height, width


def _two_whole_numbers(what: str, size: Sequence[int]) -> tuple[int, int]:
    """(height, width) as plain integers, whatever kind of integers they are."""
    try:
        height, width = (operator.index(value) for value in size)
    except (TypeError, ValueError):
        raise ErfSegError(f"{what} {size!r} is not (height, width) in pixels") from None
    return height, width


def _label_table(info: CheckpointInfo, class_map: ClassMap | None) -> np.ndarray | None:
    """Lookup table uint8[256] from output to label; None where each output is its label.

    Outputs beyond the class set are void: Cityscapes networks have a twentieth for it.
    """
    if class_map is not None:
        if class_map.source != info.class_set:
            raise ErfSegError(
                f"the class map is made for the classes of '{class_map.source.name}', "
                f"but the network has those of '{info.class_set.name}'"
            )
        return class_map.table
    if info.num_outputs == info.class_set.num_classes:
        return None
    table = np.arange(256, dtype=np.uint8)
    table[info.class_set.num_classes :] = VOID_ID
    return table


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring an image to the network's size (height, width), contiguous.

    Averaging over areas takes several times as long as bilinear, so it is kept for images more
    than twice as large, where bilinear would skip pixels altogether.
    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    shrink = max(image.shape[0] / size[0], image.shape[1] / size[1])
    method = cv2.INTER_AREA if shrink > 2.0 else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=method)


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
    height, width = _two_whole_numbers("label size", size)
    if not (1 <= height <= _LARGEST_LABEL_SIDE and 1 <= width <= _LARGEST_LABEL_SIDE):
        raise ErfSegError(
            f"label size {height}×{width} (height×width) must be from 1×1 to "
            f"{_LARGEST_LABEL_SIDE}×{_LARGEST_LABEL_SIDE}"
        )
    return height, width


def _checked_threshold(value: float) -> int:
    """Return the least confidence, 0 to 255, that reaches a probability of 0 to 1."""
    if not isinstance(value, Real) or not 0.0 <= value <= 1.0:
        raise ErfSegError(f"min_confidence is {value!r}; it must be a number from 0 to 1")
    return math.ceil(255 * value)
