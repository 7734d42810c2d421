"""Size that the head of a packed picture claims, before a decoder makes room for it.

Sources: ITU-T T.81 (JPEG), RFC 2083 (PNG), RFC 9649 (WebP), TIFF 6.0, BITMAPINFOHEADER (BMP).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
"""How files of these formats begin."""

_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segment that has the size (ITU-T T.81, table B.1)."""

_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_LONG = 4
_BMP_OLD_HEAD = 12


def claimed_pixels(packed: bytes | memoryview) -> int | None:
    """Pixels of a JPEG, PNG, WebP, TIFF or BMP; None for others, and where the head is broken."""
    data = memoryview(packed)
    for begin, pixels in _READERS:
        if bytes(data[: len(begin)]) == begin:
            try:
                return pixels(data)
            except struct.error:  # it ends before its size
                return None
    return None


def _jpeg(data: memoryview) -> int | None:
    place = len(JPEG)
    while data[place : place + 1] == b"\xff":
        (marker,) = struct.unpack_from("B", data, place + 1)
        if marker == 0xFF:  # any number of these may stand before a marker
            place += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return height * width
        (length,) = struct.unpack_from(">H", data, place + 2)
        place += 2 + length
    return None


def _png(data: memoryview) -> int:
    width, height = struct.unpack_from(">II", data, 16)  # IHDR is the first chunk
    return width * height


def _bmp(data: memoryview) -> int:
    if data[14:18] == struct.pack("<I", _BMP_OLD_HEAD):
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(width * height)  # a negative height: the rows come from the top


def _webp(data: memoryview) -> int:
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        sizes = struct.unpack_from("<HBHB", data, 24)  # two numbers of 24 bits, each one less
        return (sizes[0] + (sizes[1] << 16) + 1) * (sizes[2] + (sizes[3] << 16) + 1)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", data, 26)
    return (width & 0x3FFF) * (height & 0x3FFF)


def _tiff(data: memoryview) -> int:
    order = "<" if data[0] == ord("I") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    size = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        if tag in size:
            number = "I" if kind == _TIFF_LONG else "H"
            (size[tag],) = struct.unpack_from(f"{order}{number}", data, place + 8)
    return size[_TIFF_WIDTH] * size[_TIFF_HEIGHT]


_READERS: tuple[tuple[bytes, Callable[[memoryview], int | None]], ...] = (
    (JPEG, _jpeg),
    (PNG, _png),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"BM", _bmp),
)
