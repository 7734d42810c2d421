"""A bag of what a model made of each frame, for Foxglove and `ros2 bag play`.

Topics and types are the node's, stamps and frame_ids the camera's, so it plays beside the original.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import cv2

from ..bags import BagWriter
from ..bags.messages import typestore
from ..class_sets import ClassSet
from ..errors import ErfSegError
from ..inference import Segmentation
from ..overlay import blend
from .recorded_frames import RecordedFrame

NODE = "/segmentation"
LABEL_TOPIC = f"{NODE}/label"
CONFIDENCE_TOPIC = f"{NODE}/confidence"
OVERLAY_TOPIC = f"{NODE}/overlay"
TIMING_TOPIC = f"{NODE}/timing"

_DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
_JPEG_QUALITY = 85  # for looking at; the labels themselves are beside it, exact


class AnnotatedBag:
    """Writes one MCAP, its chunks packed: label images shrink to a few per cent."""

    def __init__(
        self, path: Path, class_set: ClassSet, model: str, contents: Collection[str]
    ) -> None:
        """Create the bag `path` in place of an older one; `contents` are from `ANNOTATIONS`."""
        _remove_older(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._bag = BagWriter(path, "mcap", compress=True)
        self._class_set = class_set
        self._model = model
        self._contents = frozenset(contents)

    def add(
        self, frame: RecordedFrame, result: Segmentation, times_ms: Mapping[str, float]
    ) -> None:
        """Write what is wanted of one frame."""
        place = (frame.stamp_ns, frame.frame_id)
        if "image" in self._contents:
            message = frame.message
            self._bag.write_cdr(message.topic, message.msgtype, frame.stamp_ns, message.raw)
        if "labels" in self._contents:
            self._bag.write_image(LABEL_TOPIC, *place, result.labels, "mono8")
        if "confidence" in self._contents and result.confidence is not None:
            self._bag.write_image(CONFIDENCE_TOPIC, *place, result.confidence, "mono8")
        if "overlay" in self._contents:
            picture = blend(frame.image_bgr, result.labels, self._class_set)
            _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self._bag.write_compressed_image(
                f"{OVERLAY_TOPIC}/compressed",
                *place,
                packed.tobytes(),
                "bgr8; jpeg compressed bgr8",
            )
        if "timing" in self._contents:
            self._write_timing(frame, times_ms)

    def close(self) -> None:
        """Finish the bag."""
        if self._bag.message_count:
            self._bag.close()
        else:  # nothing was labelled
            self._bag.__exit__(ErfSegError, None, None)

    def _write_timing(self, frame: RecordedFrame, times_ms: Mapping[str, float]) -> None:
        types = typestore().types
        known = {stage: ms for stage, ms in times_ms.items() if math.isfinite(ms)}
        values = {f"{stage}_ms": f"{ms:.3f}" for stage, ms in known.items()}
        key_value = types["diagnostic_msgs/msg/KeyValue"]
        status = types["diagnostic_msgs/msg/DiagnosticStatus"](
            level=0,
            name="segmentation",
            message=f"{known['total']:.1f} ms" if "total" in known else "not timed",
            hardware_id="",
            values=[key_value(k, v) for k, v in {**values, "model": self._model}.items()],
        )
        seconds, nanoseconds = divmod(frame.stamp_ns, 1_000_000_000)
        stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame.frame_id)
        array = types[_DIAGNOSTICS](header=header, status=[status])
        raw = typestore().serialize_cdr(array, _DIAGNOSTICS)
        self._bag.write_cdr(TIMING_TOPIC, _DIAGNOSTICS, frame.stamp_ns, bytes(raw))


def _remove_older(path: Path) -> None:
    """Make room for the bag, but delete nothing that is not a bag's."""
    if not path.exists():
        return
    foreign = [f.name for f in path.iterdir() if f.name != "metadata.yaml" and f.suffix != ".mcap"]
    if foreign:
        raise ErfSegError(f"{path} holds {foreign[0]}, which is no annotated bag; choose another")
    shutil.rmtree(path)
