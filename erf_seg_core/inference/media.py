"""Images and videos to be segmented: finding them, and their frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from ..errors import ErfSegError
from ..image_codec import decode_compressed
from ..image_files import IMAGE_SUFFIXES, is_image, opencv_path

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
FALLBACK_RATE_HZ = 25.0  # for video files that do not say theirs


@dataclass(frozen=True)
class ImageFile:
    """One image; `name` is where its results go, relative and without suffix."""

    path: Path
    name: Path
    count: ClassVar[int] = 1

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the image, H×W×3 uint8 BGR; `ErfSegError` if it cannot be."""
        try:
            packed = self.path.read_bytes()
        except OSError as error:
            raise ErfSegError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            yield decode_compressed(packed, self.path.suffix.lstrip("."))
        except ErfSegError as error:
            raise ErfSegError(f"{self.path}: {error}") from error


@dataclass(frozen=True)
class VideoFile:
    """One video; `name` as for images. `count` is None where the file does not say."""

    path: Path
    name: Path
    count: int | None
    rate_hz: float

    @classmethod
    def open(cls, path: Path, name: Path) -> VideoFile:
        """Read the header; a file that is no video gets no frames here, and an error on reading."""
        try:
            capture = cv2.VideoCapture(opencv_path(path))
        except ErfSegError:
            return cls(path, name, None, FALLBACK_RATE_HZ)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        return cls(path, name, count if count > 0 else None, rate_hz or FALLBACK_RATE_HZ)

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the frames, H×W×3 uint8 BGR.

        Raises `ErfSegError` if there is none, or, after the last that can be decoded, if the file
        promised noticeably more.
        """
        capture = cv2.VideoCapture(opencv_path(self.path))
        done = 0
        try:
            while True:
                ok, image = capture.read()
                if not ok:
                    break
                yield image
                done += 1
        finally:
            capture.release()
        if done == 0:
            raise ErfSegError(f"{self.path} is no video that OpenCV can read, or has no frames")
        # Some containers only estimate their count, so a few frames less are no damage.
        if self.count is not None and done < 0.98 * self.count - 1:
            raise ErfSegError(
                f"{self.path} is damaged or cut short: {done} of {self.count} frames could be read"
            )


Medium = ImageFile | VideoFile


def find_media(inputs: Iterable[Path], exclude: Path | None = None) -> list[Medium]:
    """Images and videos that the inputs name: files as they are, folders with all below them.

    Results of a file in a folder are named by its path below that folder; where two names would be
    the same, the later one gets a number, and so does a video called like a folder, as its frames
    have one too. Nothing below `exclude`, the folder of the results, is taken from a folder. Raises
    `ErfSegError` for an input that does not exist, holds no media, or lies in `exclude`.
    """
    named = [(file, name) for given in inputs for file, name in _named_files(given, exclude)]
    folders = {folder for _, name in named for folder in name.parents}
    media: list[Medium] = []
    taken: set[Path] = set()
    for file, wanted in named:
        is_video = file.suffix.lower() in VIDEO_SUFFIXES
        name = _free_name(wanted, taken | folders if is_video else taken)
        taken.add(name)
        media.append(VideoFile.open(file, name) if is_video else ImageFile(file, name))
    return media


def _named_files(given: Path, exclude: Path | None) -> list[tuple[Path, Path]]:
    """Files that an input names, and what their results are called if nothing else is."""
    above = given if given.is_dir() else given.parent
    return [(file, file.relative_to(above).with_suffix("")) for file in _files_of(given, exclude)]


def _files_of(given: Path, exclude: Path | None) -> list[Path]:
    if given.is_file():
        return [given]
    if given.is_symlink() and not given.exists():
        raise ErfSegError(f"{given} is a link to {given.readlink()}, and there is no such file")
    if not given.is_dir():
        raise ErfSegError(f"there is no file or folder {given}")
    outside = None if exclude is None else exclude.resolve()
    if outside in (given.resolve(), *given.resolve().parents):
        raise ErfSegError(
            f"{given} is or lies in {exclude}, the folder for the results, which is not searched: "
            "choose another folder for them"
        )
    files = [
        file
        for file in sorted(given.rglob("*"))
        if (is_image(file) or file.suffix.lower() in VIDEO_SUFFIXES)
        and file.is_file()
        and (outside is None or outside not in file.resolve().parents)
    ]
    if not files:
        raise ErfSegError(
            f"{given} holds no images or videos (looked for {', '.join(IMAGE_SUFFIXES)}, "
            f"{', '.join(VIDEO_SUFFIXES)})"
        )
    return files


def _free_name(name: Path, taken: set[Path]) -> Path:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = name.with_name(f"{name.name}-{number}"), number + 1
    return candidate
