"""Which files are images, by their names."""

from __future__ import annotations

from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""In lower case, of what OpenCV reads everywhere."""


def is_image(path: Path) -> bool:
    """Whether a file is named like an image, in any case: ImageNet's are called .JPEG."""
    return path.suffix.lower() in IMAGE_SUFFIXES
