"""Image, label and truth of one moment, brought together by their stamps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

StampedArray = tuple[int, str, np.ndarray]
"""What `BagReader.images` yields: stamp in nanoseconds, frame_id, array."""


@dataclass(frozen=True)
class MatchedFrame:
    """`image_bgr` is H×W×3 uint8, `labels` and `truth` are uint8 or None where there is none."""

    stamp_ns: int
    image_bgr: np.ndarray
    labels: np.ndarray | None
    truth: np.ndarray | None


def matched_frames(
    images: Iterable[StampedArray],
    labels: Iterable[StampedArray],
    truth: Iterable[StampedArray],
) -> Iterator[MatchedFrame]:
    """Every image with the label and the truth of exactly its stamp; one frame in memory.

    The three must come in the order of their stamps, as recordings do.
    """
    label_at, truth_at = Follower(labels), Follower(truth)
    for stamp_ns, _, image in images:
        yield MatchedFrame(stamp_ns, image, label_at(stamp_ns), truth_at(stamp_ns))


class Follower:
    """Walks along a stream; asked for ascending stamps, it has the array of that stamp or None."""

    def __init__(self, stream: Iterable[StampedArray]) -> None:
        """Take the first array of the stream."""
        self._stream = iter(stream)
        self._next = next(self._stream, None)

    def __call__(self, stamp_ns: int) -> np.ndarray | None:
        """Array of exactly that stamp; stamps asked for must not go back."""
        while self._next is not None and self._next[0] < stamp_ns:
            self._next = next(self._stream, None)
        if self._next is None or self._next[0] != stamp_ns:
            return None
        return self._next[2]
