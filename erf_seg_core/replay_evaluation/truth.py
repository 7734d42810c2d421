"""Truth of a frame, found by its exact stamp: in a topic of the bag or in a folder of PNGs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..bags import BagReader
from ..bags.messages import COMPRESSED_IMAGE, typestore
from ..errors import ErfSegError
from ..image_codec import decode_image, decode_message
from ..label_png import decode_label, read_label
from ..report.matched_frames import Follower, StampedArray
from .options import EvaluationOptions

TruthAt = Callable[[int], "np.ndarray | None"]
"""From a stamp in nanoseconds, asked for in ascending order, to labels uint8 H×W or None."""


def open_truth(bag: BagReader, bag_name: str, options: EvaluationOptions) -> TruthAt | None:
    """The truth that the options name; None where there is none and none was asked for.

    Raises `ErfSegError` for a topic or folder that was named and holds no labels.
    """
    if options.truth_folder is not None:
        return FolderTruth(options.truth_folder, bag_name)
    topic = options.truth_topic
    if topic is None:
        return None
    topics = {t.name for t in bag.image_topics()}
    if topic in topics:
        return Follower(_label_images(bag, topic))
    if options.truth is None:
        return None
    raise ErfSegError(
        f"{bag.path} has no label images on {topic} and there is no folder of that name; topics "
        f"with images: {', '.join(sorted(topics)) or 'none'}"
    )


class FolderTruth:
    """Label PNGs whose names are stamps: `1000000000066666667.png` or `1000000000.066666667.png`.

    A sub-folder with the name of the bag goes before the folder itself, since the stamps of two
    bags may be the same.
    """

    def __init__(self, folder: Path, bag_name: str) -> None:
        """List the files; `ErfSegError` if none is named after a stamp."""
        own = folder / bag_name
        self._folder = own if own.is_dir() else folder
        self._files = {}
        for path in self._folder.glob("*.png"):
            stamp_ns = _stamp_in(path.stem)
            if stamp_ns is not None:
                self._files[stamp_ns] = path
        if not self._files:
            raise ErfSegError(
                f"{self._folder} holds no label PNGs named after stamps, such as "
                "1000000000066666667.png (nanoseconds) or 1000000000.066666667.png"
            )

    def __call__(self, stamp_ns: int) -> np.ndarray | None:
        """Read the file of that stamp."""
        path = self._files.get(stamp_ns)
        return None if path is None else read_label(path)


def refuse_other_shape(truth: np.ndarray, image: np.ndarray) -> None:
    """Truth may be smaller or larger than its image, but must show the same picture."""
    (height, width), (rows, columns) = truth.shape, image.shape[:2]
    # The larger rounding error of the two: a picture halved from an odd size is off by one pixel.
    if abs(height * columns - width * rows) > 2 * max(rows, columns, height, width):
        raise ErfSegError(
            f"truth of {width}×{height} pixels does not fit an image of {columns}×{rows}: it must "
            "have the same proportions"
        )


def _label_images(bag: BagReader, topic: str) -> Iterator[StampedArray]:
    for number, message in enumerate(bag.messages([topic])):
        what = f"message {number} of {topic}"
        try:
            content = typestore().deserialize_cdr(message.raw, message.msgtype)
            if message.msgtype == COMPRESSED_IMAGE:
                labels = decode_label(content.data)
            else:
                labels = _single_bytes(decode_message(content, decode_image))
        except Exception as error:  # whatever a parser makes of damaged bytes
            raise ErfSegError(f"{what} cannot be read: {error}") from error
        stamp = content.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec or message.time_ns
        yield stamp_ns, content.header.frame_id, labels


def _single_bytes(labels: np.ndarray) -> np.ndarray:
    """The labels themselves if they are uint8 H×W."""
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ErfSegError(
            "it must have one channel of 8 bits (class ids), but is "
            f"{labels.dtype} of shape {'×'.join(map(str, labels.shape))}"
        )
    return labels


def _stamp_in(name: str) -> int | None:
    if name.isdecimal():
        return int(name)
    parts = re.fullmatch(r"(\d+)[._](\d{1,9})", name)
    return int(parts[1]) * 1_000_000_000 + int(parts[2].ljust(9, "0")) if parts else None
