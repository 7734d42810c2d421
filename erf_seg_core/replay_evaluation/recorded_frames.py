"""Frames of one camera of a bag, decoded, with their truth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..bags import BagMessage, BagReader
from ..bags.messages import typestore
from ..errors import ErfSegError
from ..image_codec import decode_message, to_bgr
from .truth import TruthAt, refuse_other_shape


@dataclass(frozen=True)
class RecordedFrame:
    """One frame: `index` in the topic, header stamp, the picture as the node would see it.

    `image_bgr` is H×W×3 uint8, or None where the message is damaged; `truth` h×w uint8 or None.
    `convert_ms` is what turning the message into the array took. `message` is the one of the bag.
    """

    index: int
    stamp_ns: int
    frame_id: str
    image_bgr: np.ndarray | None
    truth: np.ndarray | None
    convert_ms: float
    message: BagMessage


def recorded_frames(
    bag: BagReader, topic: str, truth_at: TruthAt | None, limit: int | None = None
) -> Iterator[RecordedFrame]:
    """The first `limit` frames of an image topic in the order of recording, one at a time.

    Raises `ErfSegError` where the bag ends in damage, and for truth that is none.
    """
    for index, message in enumerate(bag.messages([topic])):
        if index == limit:
            return
        start = time.perf_counter()
        stamp_ns, frame_id, image = _decoded(message)
        convert_ms = 1000.0 * (time.perf_counter() - start)
        truth = None
        if truth_at is not None and image is not None:
            truth = truth_at(stamp_ns)
        if truth is not None:
            try:
                refuse_other_shape(truth, image)
            except ErfSegError as error:
                raise ErfSegError(f"frame {index} (stamp {stamp_ns}): {error}") from error
        yield RecordedFrame(index, stamp_ns, frame_id, image, truth, convert_ms, message)


def _decoded(message: BagMessage) -> tuple[int, str, np.ndarray | None]:
    """Stamp, frame_id and picture; None for a picture that the node would refuse, too."""
    try:
        content = typestore().deserialize_cdr(message.raw, message.msgtype)
    except Exception:  # whatever a parser makes of damaged bytes
        return message.time_ns, "", None
    stamp = content.header.stamp
    # Drivers that do not stamp leave zero; a replay then goes by the recorder's time, too.
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec or message.time_ns
    try:
        image = decode_message(content, to_bgr)
    except ErfSegError:
        image = None
    return stamp_ns, content.header.frame_id, image
