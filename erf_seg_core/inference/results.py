"""Results as files: label and confidence images, overlays, overlay videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..class_sets import ClassSet
from ..errors import ErfSegError
from ..image_files import opencv_path
from ..overlay import blend, legend
from .media import ImageFile, Medium, VideoFile
from .segmenter import Segmentation

_LEGEND_WIDTH = 640
_JPEG_QUALITY = 92
# Every player but browsers shows MPEG-4 in MP4, and it encodes faster than networks label. OpenCV's
# wheels have no H.264, and VP8, which browsers do play, takes longer than the segmentation.
_VIDEO_CODEC = "mp4v"


class PictureError(ErfSegError):
    """A picture that its format cannot hold; others may still be written."""


@dataclass(frozen=True)
class ResultOptions:
    """What is written below `folder`.

    `labels/NAME.png` (uint8 class ids, 255 is void), `overlays/NAME.jpg` unless `overlay` is off,
    `confidence/NAME.png` if wanted. For a video `overlays/NAME.mp4`; its labels and confidence, as
    `labels/NAME/000000.png`, …, only with `video_labels` or without overlay. Labels whose
    probability is below `min_confidence` are void.
    """

    folder: Path
    overlay: bool = True
    alpha: float = 0.5
    confidence: bool = False
    video_labels: bool = False
    min_confidence: float = 0.0


class Results(Protocol):
    """Files of one medium. `files` says what was written: kind → path."""

    files: dict[str, str]

    def add(self, image_bgr: np.ndarray, segmentation: Segmentation) -> None:
        """Write one frame; `ErfSegError` if the disk refuses."""
        ...

    def close(self) -> None:
        """Finish the files; needed after an error and Ctrl-C too."""
        ...


def open_results(medium: Medium, options: ResultOptions, class_set: ClassSet) -> Results:
    """Results of one medium, of the kind that fits it."""
    if isinstance(medium, ImageFile):
        return ImageResults(medium, options, class_set)
    return VideoResults(medium, options, class_set)


def write_legend(options: ResultOptions, class_set: ClassSet) -> None:
    """Write `legend.png` beside the overlays' folder."""
    write_image(options.folder / "legend.png", legend(class_set, _LEGEND_WIDTH))


def write_image(path: Path, image: np.ndarray) -> None:
    """Encode by suffix and write whole.

    `ErfSegError` says why the disk refuses, `PictureError` that there can be no such file.
    """
    parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    encoded, packed = cv2.imencode(path.suffix, image, parameters)
    if not encoded:
        size = f"{image.shape[1]}×{image.shape[0]}"
        raise PictureError(f"{path}: {size} pixels are more than a {path.suffix} file can have")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
    except OSError as error:
        if path.is_file():
            path.unlink()  # half an image is worse than none
        raise ErfSegError(f"cannot write {path}: {error.strerror}") from error


class ImageResults:
    """Label image, and the others that are wanted, of one image."""

    def __init__(self, image: ImageFile, options: ResultOptions, class_set: ClassSet) -> None:
        """Write nothing yet."""
        self.files: dict[str, str] = {}
        self._name, self._options, self._class_set = image.name, options, class_set

    def add(self, image_bgr: np.ndarray, segmentation: Segmentation) -> None:
        """See `Results.add`."""
        self._write("labels", ".png", segmentation.labels)
        if segmentation.confidence is not None:
            self._write("confidence", ".png", segmentation.confidence)
        if self._options.overlay:
            picture = blend(image_bgr, segmentation.labels, self._class_set, self._options.alpha)
            self._write("overlays", ".jpg", picture)

    def close(self) -> None:
        """Nothing stays open."""

    def _write(self, kind: str, suffix: str, picture: np.ndarray) -> None:
        path = _result_path(self._options.folder / kind, self._name, suffix)
        write_image(path, picture)
        self.files[kind] = str(path)


class VideoResults:
    """Overlay video, and label images if wanted, of one video."""

    def __init__(self, video: VideoFile, options: ResultOptions, class_set: ClassSet) -> None:
        """Write nothing yet: the first frame decides the size."""
        self.files: dict[str, str] = {}
        self._video, self._options, self._class_set = video, options, class_set
        self._path = _result_path(options.folder / "overlays", video.name, ".mp4")
        self._writer: cv2.VideoWriter | None = None
        self._count = 0

    def add(self, image_bgr: np.ndarray, segmentation: Segmentation) -> None:
        """See `Results.add`."""
        if self._options.video_labels or not self._options.overlay:
            self._write_image("labels", segmentation.labels)
            if segmentation.confidence is not None:
                self._write_image("confidence", segmentation.confidence)
        if self._options.overlay:
            picture = blend(image_bgr, segmentation.labels, self._class_set, self._options.alpha)
            # The codec halves the colour's resolution: it needs even sizes.
            odd_rows, odd_columns = picture.shape[0] % 2, picture.shape[1] % 2
            picture = cv2.copyMakeBorder(picture, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)
            if self._writer is None:
                self._writer = self._open(picture.shape[1], picture.shape[0])
            self._writer.write(picture)
        self._count += 1

    def close(self) -> None:
        """Finish the video; `ErfSegError` if not all of it reached the disk."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        # OpenCV keeps a full disk to itself: only reading the file shows whether it is whole.
        # Ctrl-C may come between writing a frame and counting it, so one more is no fault.
        written = VideoFile.open(self._path, self._path)
        if (written.count or 0) < self._count:
            raise ErfSegError(
                f"{self._path} could not be written whole; is the disk full, or its size limited?"
            )

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ErfSegError(f"cannot write {self._path}: {error.strerror}") from error
        code = cv2.VideoWriter_fourcc(*_VIDEO_CODEC)
        path = opencv_path(self._path)
        writer = cv2.VideoWriter(path, code, self._video.rate_hz, (width, height))
        if not writer.isOpened():
            raise ErfSegError(
                f"cannot write the video {self._path}: the disk refuses it, or this OpenCV has no "
                "MPEG-4 encoder; --no-overlay writes label images instead"
            )
        self.files["overlays"] = str(self._path)
        return writer

    def _write_image(self, kind: str, picture: np.ndarray) -> None:
        folder = self._options.folder / kind / self._video.name
        write_image(folder / f"{self._count:06d}.png", picture)
        self.files[kind] = str(folder)


def _result_path(folder: Path, name: Path, suffix: str) -> Path:
    """Append the suffix to the name as it is: `with_suffix` would cut "a.b" down to "a"."""
    return folder / name.parent / f"{name.name}{suffix}"
