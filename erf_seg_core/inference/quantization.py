"""INT8 on the CPU: activations' ranges measured on images, and graphs quantised by them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from ..errors import ErfSegError
from ..models import SegmentationNetwork
from .calibration import Calibration, convolutions, float_graph, store_calibration
from .onnx_graph import IMAGE_NAME

# The first downsampler reads bytes and the head decides near ties: both stay in float32. The head
# is no convolution but a matrix product, so only the first two need naming.
_FLOAT_CONVS = 2


def calibrate(
    net: SegmentationNetwork,
    input_size: tuple[int, int],
    images: Sequence[np.ndarray],
    origin: str,
    on_image: Callable[[], None] = lambda: None,
) -> Calibration:
    """Measure the range of every value between convolutions, and keep it for `find_calibration`.

    Args:
        net: the network with its weights.
        input_size: (height, width) at which the network sees the images.
        images: uint8 BGR H×W×3 of any size, of the kind the network is to see.
        origin: where they come from, in words.
        on_image: called for each of them.

    Raises:
        ErfSegError: no image, or a cache that cannot be written.

    """
    if not images:
        raise ErfSegError("calibration needs at least one image")
    model = float_graph(net, input_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            ["Conv"],
            str(Path(folder) / "augmented.onnx"),
            CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Images(images, input_size, on_image))
        measured = calibrator.compute_data()
    ranges = {
        name: (float(np.min(data.range_value[0])), float(np.max(data.range_value[1])))
        for name, data in measured.items()
    }
    calibration = Calibration(ranges, f"{len(images)} images of {origin}")
    store_calibration(net, calibration)
    return calibration


def quantized(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """Turn a float32 graph in the "cpu" form into one that computes its convolutions in 8 bits."""
    ranges = {k: tuple(np.float32(v) for v in pair) for k, pair in calibration.ranges.items()}
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in convolutions(model)[:_FLOAT_CONVS]],
        op_types_to_quantize=["Conv"],
        extra_options={},
    )
    quantizer.quantize_model()
    return quantizer.model.model


class _Images(CalibrationDataReader):
    """Feeds the images one by one."""

    def __init__(
        self, images: Sequence[np.ndarray], size: tuple[int, int], on_image: Callable[[], None]
    ) -> None:
        self._feeds = self._all(images, size, on_image)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)

    @staticmethod
    def _all(
        images: Sequence[np.ndarray], size: tuple[int, int], on_image: Callable[[], None]
    ) -> Iterator[dict[str, np.ndarray]]:
        for image in images:
            on_image()
            yield {IMAGE_NAME: cv2.resize(image, (size[1], size[0]))[np.newaxis]}
