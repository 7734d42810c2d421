"""Which files are images, by their names; and what OpenCV makes of names."""

from __future__ import annotations

from pathlib import Path

from .errors import refuse_undecodable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""In lower case, of what OpenCV reads everywhere."""


def is_image(path: Path) -> bool:
    """Whether a file is named like an image, in any case: ImageNet's are called .JPEG."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def opencv_path(path: Path) -> str:
    """Name of a file for OpenCV, which crashes over one that is not UTF-8: `ErfSegError`.

    Absolute, because FFmpeg takes 12:30:00.mp4 for a URL.
    """
    refuse_undecodable(path)
    return str(path.absolute())
