"""What bags are made of: synthetic drives, folders of labelled images, videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..class_sets import VOID_ID, ClassSet
from ..errors import ErfSegError
from ..evaluation.predictions import CITYSCAPES_TRAIN_IDS
from ..image_codec import decode_compressed
from ..image_files import is_image, opencv_path
from ..label_png import read_label
from ..synthetic import CameraIntrinsics, SyntheticDrive

JPEG_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class SourceFrame:
    """One frame on its way into a bag; `jpeg` are the bytes of its file, where that was a JPEG."""

    image_bgr: np.ndarray  # uint8 H×W×3
    camera: CameraIntrinsics
    labels: np.ndarray | None = None  # uint8 H×W, 255 = void
    depth_m: np.ndarray | None = None  # float32 H×W
    jpeg: bytes | None = None


class FrameSource(Protocol):
    """Frames in order, the rate they are meant for, and how many there are (None: not known)."""

    rate_hz: float
    count: int | None

    def frames(self) -> Iterator[SourceFrame]:
        """Produce the frames; `ErfSegError` names the file that cannot be read."""
        ...


class SyntheticSource:
    """Frames of a synthetic drive, with labels, depth and a calibrated camera."""

    rate_hz = 15.0

    def __init__(
        self,
        count: int,
        seed: int = 0,
        size: tuple[int, int] = (360, 480),
        rate_hz: float = rate_hz,
        weather: str | None = None,
    ) -> None:
        """`size` is (height, width); the other arguments are `SyntheticDrive`'s."""
        self.rate_hz, self.count = rate_hz, count
        self._drive = SyntheticDrive(seed, size, rate_hz, weather)

    def frames(self) -> Iterator[SourceFrame]:
        """Draw the frames."""
        for index in range(self.count):
            drawn = self._drive.frame(index)
            yield SourceFrame(drawn.image_bgr, drawn.camera, drawn.labels, drawn.depth_m)


class FolderSource:
    """Images of a folder in the order of their names, with labels where the layout has them.

    Layouts: `images/` beside `labels/` (ids of `class_set`; those beyond it, as CamVid's 11, are
    void), Cityscapes (`leftImg8bit/…/*_leftImg8bit.png`, `gtFine/…/*_gtFine_labelIds.png`, mapped
    to the 19 train ids), or just images.
    """

    rate_hz = 15.0

    def __init__(self, folder: Path, class_set: ClassSet) -> None:
        """Find images and labels; `ErfSegError` where there is no image or no label matches."""
        self._pairs = _pairs_of(folder)
        self._cityscapes = (folder / "leftImg8bit").is_dir()
        self._num_classes = class_set.num_classes
        self.count = len(self._pairs)

    def frames(self) -> Iterator[SourceFrame]:
        """Read the files."""
        for image_path, label_path in self._pairs:
            try:
                packed = image_path.read_bytes()
                image = decode_compressed(packed, image_path.suffix[1:])
            except OSError as error:
                raise ErfSegError(f"cannot read {image_path}: {error.strerror}") from None
            except ErfSegError as error:
                raise ErfSegError(f"{image_path}: {error}") from None
            labels = None if label_path is None else self._labels(label_path, image.shape[:2])
            jpeg = packed if image_path.suffix.lower() in JPEG_SUFFIXES else None
            yield SourceFrame(image, uncalibrated(image), labels, jpeg=jpeg)

    def _labels(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        ids = read_label(path)
        if ids.shape != size:
            raise ErfSegError(
                f"{path} has {ids.shape[1]}×{ids.shape[0]} pixels, its image {size[1]}×{size[0]}"
            )
        return self._table()[ids]

    def _table(self) -> np.ndarray:
        table = np.full(256, VOID_ID, np.uint8)
        if self._cityscapes:
            table[list(CITYSCAPES_TRAIN_IDS)] = list(CITYSCAPES_TRAIN_IDS.values())
        else:
            table[: self._num_classes] = np.arange(self._num_classes)
        return table


class VideoSource:
    """Frames of a video file, at the file's own rate."""

    def __init__(self, path: Path) -> None:
        """Open the video; `ErfSegError` if OpenCV cannot."""
        self._path = path
        capture = self._open()
        if not capture.grab():
            raise ErfSegError(f"{path} is no video that OpenCV can read, or it has no frames")
        self.rate_hz = float(capture.get(cv2.CAP_PROP_FPS)) or 25.0
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None  # streams and damaged files do not say
        capture.release()

    def frames(self) -> Iterator[SourceFrame]:
        """Decode the frames."""
        capture = self._open()
        try:
            while True:
                ok, image = capture.read()
                if not ok:
                    return
                yield SourceFrame(image, uncalibrated(image))
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(opencv_path(self._path))
        if not capture.isOpened():
            raise ErfSegError(f"{self._path} is no video that OpenCV can read")
        return capture


def open_source(path: str | Path, class_set: ClassSet) -> FrameSource:
    """The source that a path names: a folder of images or a video file."""
    path = Path(path)
    if path.is_dir():
        return FolderSource(path, class_set)
    if path.is_file():
        return VideoSource(path)
    if path.is_symlink():
        raise ErfSegError(f"{path} is a link to {path.readlink()}, and there is no such file")
    raise ErfSegError(f"there is no folder or video {path}")


def uncalibrated(image: np.ndarray) -> CameraIntrinsics:
    """Camera of which only the picture's size is known."""
    height, width = image.shape[:2]
    return CameraIntrinsics(width, height, 0.0, 0.0, 0.0, 0.0)


def _pairs_of(folder: Path) -> list[tuple[Path, Path | None]]:
    if (folder / "leftImg8bit").is_dir():
        pairs = _cityscapes_pairs(folder)
    elif (folder / "images").is_dir():
        labels = folder / "labels"
        images = _images_in(folder / "images")
        pairs = [(i, _existing(labels / f"{i.stem}.png")) for i in images]
    else:
        return _refuse_empty(folder, [(image, None) for image in _images_in(folder)])
    truth = folder / ("gtFine" if (folder / "leftImg8bit").is_dir() else "labels")
    if truth.is_dir() and pairs and all(label is None for _, label in pairs):
        raise ErfSegError(f"no file in {truth} belongs to an image: labels are PNGs of their names")
    return _refuse_empty(folder, pairs)


def _cityscapes_pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    images = sorted((folder / "leftImg8bit").rglob("*_leftImg8bit.png"))
    pairs: list[tuple[Path, Path | None]] = []
    for image in images:
        below = image.relative_to(folder / "leftImg8bit").parent
        name = image.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        pairs.append((image, _existing(folder / "gtFine" / below / name)))
    return pairs


def _images_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if is_image(f) and not f.is_dir())


def _existing(path: Path) -> Path | None:
    """None where there is no label; a link that leads nowhere is a mistake that reading tells."""
    return path if path.is_file() or path.is_symlink() else None


def _refuse_empty(
    folder: Path, pairs: list[tuple[Path, Path | None]]
) -> list[tuple[Path, Path | None]]:
    if not pairs:
        raise ErfSegError(
            f"{folder} holds no images: expected images/ with labels/, leftImg8bit/ with gtFine/, "
            "or image files"
        )
    return pairs
