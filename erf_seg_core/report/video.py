"""The overlay video: camera image under its labels, frame by frame, with the legend below."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from ..class_sets import ClassSet
from ..errors import ErfSegError
from ..overlay import blend, legend
from .matched_frames import MatchedFrame

# VP8 in WebM plays in every browser and in VLC, and every OpenCV can write it: PyPI's has no H.264,
# its MPEG-4 plays in no browser, and VP9 takes four times as long.
_CODEC = "VP80"
SUFFIX = ".webm"

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ALERT = (40, 40, 200)  # BGR
_LEAST_WIDTH = 320  # narrower pictures are enlarged: the legend must fit


class OverlayVideo:
    """Writes a WebM. A frame without a label shows the last one, fainter and with its age.

    That is what a robot has at that moment: an old label that no longer quite fits.
    """

    def __init__(self, path: Path, class_set: ClassSet, rate_hz: float, alpha: float = 0.5) -> None:
        """Write to `path` at `rate_hz`; the first frame decides the size."""
        self._path = path.absolute()  # FFmpeg takes "12:30/overlay.webm" for a URL
        self._class_set = class_set
        self._rate_hz = rate_hz
        self._alpha = alpha
        self._writer: cv2.VideoWriter | None = None
        self._legend: np.ndarray | None = None
        self._last: MatchedFrame | None = None
        self._size = (0, 0)
        self._count = 0

    def add(self, frame: MatchedFrame) -> None:
        """Append one frame."""
        if self._writer is None:
            self._open(frame.image_bgr)
        if frame.labels is not None:
            self._last = frame
        picture = frame.image_bgr
        if self._last is not None:
            alpha = self._alpha if self._last is frame else self._alpha / 2
            picture = blend(picture, self._last.labels, self._class_set, alpha)
        picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        if self._last is None:
            _mark(picture, "no label yet")
        elif self._last is not frame:
            age_ms = (frame.stamp_ns - self._last.stamp_ns) / 1e6
            _mark(picture, f"label of {age_ms:.0f} ms before")
        self._writer.write(np.vstack([picture, self._legend]))
        self._count += 1

    def close(self) -> None:
        """Finish the file; `ErfSegError` if not all of it reached the disk."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        # OpenCV keeps a full disk to itself, but a file that was cut does not know its length.
        if _frames_in(self._path) < self._count:
            raise ErfSegError(
                f"the video {self._path} could not be written whole: make room for it"
            )

    def __enter__(self) -> OverlayVideo:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, also after an error: what was written stays viewable."""
        with nullcontext() if kind is None else suppress(ErfSegError):
            self.close()

    def _open(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        scale = max(1.0, _LEAST_WIDTH / width)
        # The codec subsamples colour by two: odd sizes would be cut or padded.
        self._size = (_even(width * scale), _even(height * scale))
        self._legend = _even_rows(legend(self._class_set, self._size[0]))
        total = (self._size[0], self._size[1] + self._legend.shape[0])
        self._writer = _open_writer(self._path, self._rate_hz, total)


def _open_writer(path: Path, rate_hz: float, size: tuple[int, int]) -> cv2.VideoWriter:
    code = cv2.VideoWriter_fourcc(*_CODEC)
    with _native_stderr_closed():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate_hz, size)
    if not writer.isOpened():
        raise ErfSegError(
            f"cannot write the video {path}: the disk refuses it, or OpenCV has no FFmpeg"
        )
    return writer


def _frames_in(path: Path) -> float:
    with _native_stderr_closed():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        frames = video.get(cv2.CAP_PROP_FRAME_COUNT)
        video.release()
    return frames


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """OpenCV prints that WebM does not know the tag "VP80", and then writes it correctly."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is what is wanted
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _even_rows(picture: np.ndarray) -> np.ndarray:
    missing = picture.shape[0] % 2
    return cv2.copyMakeBorder(picture, 0, missing, 0, 0, cv2.BORDER_REPLICATE)


def _mark(picture: np.ndarray, text: str) -> None:
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.5, 1)
    cv2.rectangle(picture, (0, 0), (width + 16, height + 16), _ALERT, cv2.FILLED)
    cv2.putText(picture, text, (8, height + 8), _FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
