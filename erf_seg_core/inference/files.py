"""Segment whole files: images and videos in, labels and overlays out."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

import numpy as np

from ..errors import ErfSegError
from .media import Medium
from .results import PictureError, ResultOptions, open_results, write_legend
from .segmenter import STAGES, Segmenter


@dataclass
class Summary:
    """What came of a run: frames done, milliseconds per stage, files written, media that failed."""

    frames: int = 0
    outputs: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    times_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def median_ms(self) -> dict[str, float]:
        """Median per stage: read, the segmenter's three, write."""
        return {stage: round(median(values), 3) for stage, values in self.times_ms.items()}


class Progress(Protocol):
    """Told what happens while files are segmented."""

    def frame_done(self) -> None:
        """One more frame is written."""
        ...

    def failed(self, message: str) -> None:
        """A medium was given up; the others go on."""
        ...


def segment_media(
    segmenter: Segmenter,
    media: Iterable[Medium],
    options: ResultOptions,
    progress: Progress,
    limit: int | None = None,
) -> Summary:
    """Segment images and videos one after the other and write the results.

    A medium that cannot be read, or is too large for its results' format, is reported and skipped;
    what its video gave until then is kept.
    A disk that cannot be written ends the run with an `ErfSegError`. On every way out, Ctrl-C
    included, videos are closed properly.

    Args:
        segmenter: the network to use.
        media: what to segment, see `find_media`.
        options: what to write and where.
        progress: is told of frames and failures.
        limit: stop after this many frames, of all media together.

    """
    summary = Summary()
    for medium in media:
        if limit is not None and summary.frames >= limit:
            break
        frames = _Frames(medium)
        with closing(open_results(medium, options, segmenter.class_set)) as results:
            for image in frames:
                result = segmenter(
                    image, confidence=options.confidence, min_confidence=options.min_confidence
                )
                start = time.perf_counter()
                try:
                    results.add(image, result)
                except PictureError as error:
                    frames.error = error
                    break
                written_ms = 1000.0 * (time.perf_counter() - start)
                times = {"read": frames.read_ms, **result.timing, "write": written_ms}
                for stage in ("read", *STAGES, "write"):
                    summary.times_ms[stage].append(times[stage])
                summary.frames += 1
                progress.frame_done()
                if limit is not None and summary.frames >= limit:
                    break
        if results.files:
            summary.outputs.append({"input": str(medium.path), **results.files})
        if frames.error is not None:
            summary.failures.append({"input": str(medium.path), "error": str(frames.error)})
            progress.failed(str(frames.error))
    if options.overlay and summary.frames:
        write_legend(options, segmenter.class_set)
    return summary


class _Frames:
    """Frames of a medium, timed; what goes wrong in reading ends them and is kept in `error`.

    So errors of reading, which concern one medium, stay apart from errors of writing.
    """

    def __init__(self, medium: Medium) -> None:
        self.read_ms = 0.0
        self.error: ErfSegError | None = None
        self._frames = medium.frames()

    def __iter__(self) -> Iterator[np.ndarray]:
        with closing(self._frames):
            while True:
                start = time.perf_counter()
                try:
                    image = next(self._frames)
                except StopIteration:
                    return
                except ErfSegError as error:
                    self.error = error
                    return
                self.read_ms = 1000.0 * (time.perf_counter() - start)
                yield image
