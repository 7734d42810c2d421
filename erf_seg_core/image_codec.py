"""Camera bytes to arrays: every place that reads an image message decodes it here.

The encodings are those of `sensor_msgs/image_encodings.hpp`. Nothing here knows ROS: callers pass
the fields of the message, so bags, the node and tests share one decoder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .errors import ErfSegError
from .picture_heads import JPEG, PNG, claimed_pixels

Buffer = bytes | bytearray | memoryview | np.ndarray


@dataclass(frozen=True)
class Layout:
    """How one encoding lies in memory."""

    dtype: str  # of one sample, without byte order
    samples: int  # per pixel, in one row
    to_bgr: int | None = None  # OpenCV conversion code; None: the samples are the answer already
    even: bool = False  # chroma is shared by neighbours: sizes must be even
    rows: tuple[int, int] = (1, 1)  # rows in memory per picture row, as a fraction (planar YUV)


# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first
# two of both rows. OpenCV's aliases that say it as ROS does are not in Humble's OpenCV 4.5.4.
_LAYOUTS = {
    "bgr8": Layout("u1", 3),
    "8uc3": Layout("u1", 3),
    "rgb8": Layout("u1", 3, cv2.COLOR_RGB2BGR),
    "bgra8": Layout("u1", 4, cv2.COLOR_BGRA2BGR),
    "8uc4": Layout("u1", 4, cv2.COLOR_BGRA2BGR),
    "rgba8": Layout("u1", 4, cv2.COLOR_RGBA2BGR),
    "mono8": Layout("u1", 1),
    "8uc1": Layout("u1", 1),
    "mono16": Layout("u2", 1),
    "16uc1": Layout("u2", 1),
    "32fc1": Layout("f4", 1),
    "bayer_rggb8": Layout("u1", 1, cv2.COLOR_BayerBG2BGR),
    "bayer_bggr8": Layout("u1", 1, cv2.COLOR_BayerRG2BGR),
    "bayer_gbrg8": Layout("u1", 1, cv2.COLOR_BayerGR2BGR),
    "bayer_grbg8": Layout("u1", 1, cv2.COLOR_BayerGB2BGR),
    "yuv422": Layout("u1", 2, cv2.COLOR_YUV2BGR_UYVY, even=True),
    "uyvy": Layout("u1", 2, cv2.COLOR_YUV2BGR_UYVY, even=True),
    "yuv422_yuy2": Layout("u1", 2, cv2.COLOR_YUV2BGR_YUY2, even=True),
    "yuyv": Layout("u1", 2, cv2.COLOR_YUV2BGR_YUY2, even=True),
    "nv12": Layout("u1", 1, cv2.COLOR_YUV2BGR_NV12, even=True, rows=(3, 2)),
    "nv21": Layout("u1", 1, cv2.COLOR_YUV2BGR_NV21, even=True, rows=(3, 2)),
}

ENCODINGS: tuple[str, ...] = tuple(_LAYOUTS)
"""Encodings that `decode_image` reads, in lower case (8UC3 and 8uc3 are the same)."""

_DEPTH_ENCODINGS = {"16uc1", "32fc1"}

_JPEG_PIXELS_PER_BYTE = 512
"""Most pixels that one byte of a JPEG can stand for: each 8×8 block takes at least one bit."""

_MOST_PIXELS = 2**26
"""8192×8192, 200 MB as BGR, beyond any robot's camera: a few kB of PNG may claim gigabytes."""


def decode_image(
    data: Buffer, height: int, width: int, step: int, encoding: str, is_bigendian: bool = False
) -> np.ndarray:
    """Turn the fields of a `sensor_msgs/Image` into an array of its natural kind.

    Colour encodings give H×W×3 uint8 BGR (alpha is dropped), `mono8` and `8UC1` H×W uint8,
    `mono16` and `16UC1` H×W uint16, `32FC1` H×W float32, in the machine's byte order.
    `bgr8`, `mono8` and depth in native byte order are views of `data`, without a copy: they may be
    read-only and have padded rows. Raises `ErfSegError` naming size and encoding where the fields
    contradict each other or the encoding is unknown.
    """
    layout = _layout(encoding)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if is_bigendian else "<")
    samples = _checked_rows(data, height, width, step, encoding, layout, dtype)
    if not samples.dtype.isnative:
        samples = samples.astype(samples.dtype.newbyteorder("="))
    picture = samples.reshape(len(samples), -1, layout.samples) if layout.samples > 1 else samples
    return picture if layout.to_bgr is None else cv2.cvtColor(picture, layout.to_bgr)


def to_bgr(
    data: Buffer, height: int, width: int, step: int, encoding: str, is_bigendian: bool = False
) -> np.ndarray:
    """Turn the fields of a `sensor_msgs/Image` into the H×W×3 uint8 BGR that a network reads.

    Grey images become three equal channels (`mono16` keeps its upper 8 bits). Depth (`16UC1`,
    `32FC1`) is no picture: `ErfSegError`, as for every malformed image (see `decode_image`).
    """
    if encoding.lower() in _DEPTH_ENCODINGS:
        raise ErfSegError(
            f"a {width}×{height} image with encoding '{encoding}' holds depth, not a picture: "
            "give a colour or mono topic"
        )
    picture = decode_image(data, height, width, step, encoding, is_bigendian)
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


def decode_compressed(data: Buffer, format: str = "") -> np.ndarray:
    """Decode a `sensor_msgs/CompressedImage` (JPEG, PNG, WebP, TIFF, BMP) into H×W×3 uint8 BGR.

    `format` is the message's field; it is only used in messages and to refuse `compressedDepth`,
    which is not a picture. The EXIF orientation is ignored, since the camera's calibration holds
    for the pixels as stored. Raises `ErfSegError` for empty, foreign and truncated data, and for
    pictures of absurd sizes.
    """
    packed = np.frombuffer(data, np.uint8)
    kind = format or "unnamed"
    if "compressedDepth" in format:
        raise ErfSegError(f"format '{format}' holds depth, not a picture: give a colour topic")
    if packed.size == 0:
        raise ErfSegError(f"the compressed image of format '{kind}' is empty")
    if _is_cut_jpeg(packed):
        raise ErfSegError(
            f"the JPEG of {packed.size} bytes is truncated: its end marker is missing"
        )
    if _is_cut_png(packed):
        raise ErfSegError(f"the PNG of {packed.size} bytes is truncated: a chunk of it is cut off")
    _refuse_absurd_size(packed)
    picture = _quiet(cv2.imdecode, packed, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise ErfSegError(
            f"{packed.size} bytes of format '{kind}' are not a picture that OpenCV can decode"
        )
    return picture


def _layout(encoding: str) -> Layout:
    try:
        return _LAYOUTS[encoding.lower()]
    except KeyError:
        raise ErfSegError(
            f"image encoding '{encoding}' is not supported; supported are {', '.join(ENCODINGS)}"
        ) from None


def _checked_rows(
    data: Buffer,
    height: int,
    width: int,
    step: int,
    encoding: str,
    layout: Layout,
    dtype: np.dtype,
) -> np.ndarray:
    """View of `data` as rows of samples without padding, once the fields agree with each other.

    The sizes are compared as Python integers, so absurd ones cannot overflow or allocate.
    """
    # frombuffer copies nothing and takes array.array, bytes and ndarrays alike
    flat = np.frombuffer(data, np.uint8)
    size = f"image {width}×{height} with encoding '{encoding}'"
    if height <= 0 or width <= 0:
        raise ErfSegError(f"{size} has no pixels")
    if layout.even and (width % 2 or (layout.rows != (1, 1) and height % 2)):
        raise ErfSegError(f"{size}: this encoding needs an even size")
    row_bytes = width * layout.samples * dtype.itemsize
    if step < row_bytes:
        raise ErfSegError(f"{size} needs a step of at least {row_bytes} bytes, its step is {step}")
    numerator, denominator = layout.rows
    rows = height * numerator // denominator
    if flat.size != step * rows:
        raise ErfSegError(
            f"{size} and step {step} needs {step * rows} bytes of data, it has {flat.size}"
        )
    # not by `view`, which NumPy before 1.23 refuses for padded rows
    shape = rows, row_bytes // dtype.itemsize
    return np.ndarray(shape, dtype, flat, strides=(step, dtype.itemsize))


def _is_cut_jpeg(packed: np.ndarray) -> bool:
    """Whether this is a JPEG without its end marker, which decoders fill up with grey."""
    if packed[:2].tobytes() != JPEG:
        return False
    # Some USB cameras pad each JPEG with zeros, so the marker may lie a little before the end.
    return b"\xff\xd9" not in packed[-4096:].tobytes()


def _is_cut_png(packed: np.ndarray) -> bool:
    """Whether this is a PNG with a chunk that ends after the data; OpenCV would wait for it.

    A broken length makes it take gigabytes and many seconds.
    """
    data = memoryview(packed)
    place = len(PNG) if data[: len(PNG)] == PNG else len(data)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if place > len(data) or kind == b"IEND":
            break
    return place > len(data)


def _refuse_absurd_size(packed: np.ndarray) -> None:
    """Raise where decoding would take memory out of all proportion; unknown formats do not decode.

    What OpenCV reads beyond these five is no camera's, and its size would be known too late.
    """
    pixels = claimed_pixels(memoryview(packed))
    if pixels is None:
        raise ErfSegError(
            f"{packed.size} bytes are not a picture: no JPEG, PNG, WebP, TIFF or BMP with its size"
        )
    if pixels > _MOST_PIXELS:
        raise ErfSegError(
            f"a compressed image of {packed.size} bytes claims {pixels} pixels; "
            f"more than {_MOST_PIXELS} are not decoded"
        )
    if packed[:2].tobytes() == JPEG and pixels > _JPEG_PIXELS_PER_BYTE * packed.size:
        raise ErfSegError(f"the JPEG of {packed.size} bytes claims more pixels than it can hold")


def _quiet(decode: Callable[..., np.ndarray | None], *args: object) -> np.ndarray | None:
    """Call an OpenCV decoder; what it throws for absurd headers is the same as 'not a picture'."""
    try:
        return decode(*args)
    except cv2.error:
        return None


def decode_message(message: Any, decode: Callable[..., np.ndarray] = decode_image) -> np.ndarray:
    """Array in anything with the fields of `sensor_msgs/Image` or `CompressedImage`.

    `decode` is `decode_image` or `to_bgr`; a compressed image is BGR either way. Raises as they do.
    """
    if hasattr(message, "format"):  # only a CompressedImage has it
        return decode_compressed(message.data, message.format)
    return decode(
        message.data,
        message.height,
        message.width,
        message.step,
        message.encoding,
        bool(message.is_bigendian),
    )
