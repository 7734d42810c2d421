"""Arrays to image messages and back; the decoding itself is `erf_seg_core.image_codec`'s."""

from __future__ import annotations

from array import array

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from erf_seg_core.image_codec import decode_message, to_bgr


def image_to_bgr(message: Image | CompressedImage) -> np.ndarray:
    """Picture in a message as H×W×3 uint8 BGR; `ErfSegError` says what is wrong with a bad one.

    `bgr8` is returned as a view of the message's data, which may have padded rows.
    """
    return decode_message(message, to_bgr)


def mono8_message(header: Header, values: np.ndarray) -> Image:
    """H×W uint8 as `mono8`, rows without padding."""
    return _image_message(header, values, "mono8")


def bgr8_message(header: Header, image: np.ndarray) -> Image:
    """H×W×3 uint8 BGR as `bgr8`, rows without padding."""
    return _image_message(header, image, "bgr8")


def _image_message(header: Header, values: np.ndarray, encoding: str) -> Image:
    height, width = values.shape[:2]
    data = array("B")
    # Assigning anything but an array of bytes makes rclpy check each element: 0.7 s for 6 MB.
    data.frombytes(np.ascontiguousarray(values, np.uint8).data)
    step = len(data) // height
    return Image(header=header, height=height, width=width, encoding=encoding, step=step, data=data)
