"""Pictures of a bag under the stamps that the replay knows them by; damaged ones are passed over.

The node counts a malformed image and goes on, so the report of its run must do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..bags import BagReader
from ..bags.messages import typestore
from ..image_codec import decode_image, decode_message, to_bgr
from .frames import NS_PER_S
from .matched_frames import StampedArray


def camera_pictures(bag: BagReader, topic: str) -> Iterator[StampedArray]:
    """Camera images as the node saw them, H×W×3 uint8 BGR."""
    return _pictures(bag, topic, to_bgr)


def label_pictures(bag: BagReader, topic: str) -> Iterator[StampedArray]:
    """Label images as they are, normally H×W uint8."""
    return _pictures(bag, topic, decode_image)


def _pictures(bag: BagReader, topic: str, decode: Callable[..., np.ndarray]) -> Iterator[Any]:
    for message in bag.messages([topic]):
        try:
            content = typestore().deserialize_cdr(message.raw, message.msgtype)
            picture = decode_message(content, decode)
        except Exception:  # whatever a parser makes of damaged bytes
            continue
        stamp = content.header.stamp
        # Drivers that do not stamp leave zero; the player then goes by the recorder's time.
        stamp_ns = stamp.sec * NS_PER_S + stamp.nanosec or message.time_ns
        yield stamp_ns, content.header.frame_id, picture
