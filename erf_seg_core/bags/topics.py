"""Which topic of a bag is the camera's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ..errors import ErfSegError
from .messages import typestore
from .reader import BagReader

_NOT_CAMERAS = ("depth", "label", "ground_truth", "confidence", "mask", "overlay")
_FRAMES_TO_LOOK_AT = 200
"""A label may be recorded seconds after its image, but not much later than this many frames."""


def choose_image_topic(bag: BagReader, wanted: str | None, truth_topic: str | None = None) -> str:
    """`wanted` if the bag has it, else the one topic that looks like a camera's.

    Of several cameras, the one whose image bears stamp and frame_id of the first label image on
    `truth_topic`. Raises `ErfSegError` with the candidates when that is not one.
    """
    if wanted is None:
        names = [topic.name for topic in bag.image_topics() if topic.name != truth_topic]
        cameras = [name for name in names if not any(word in name for word in _NOT_CAMERAS)]
        if len(cameras) > 1 and truth_topic in {topic.name for topic in bag.image_topics()}:
            cameras = _labelled_cameras(bag, cameras, truth_topic)
        if len(cameras) == 1:
            return cameras[0]
    return bag.image_topic(wanted).name


def _labelled_cameras(bag: BagReader, cameras: list[str], truth_topic: str) -> list[str]:
    first = next(_headers(bag, truth_topic))
    for place in (first, first[:1]):  # a truth that names no frame still has a stamp
        matching = [
            camera
            for camera in cameras
            if any(
                header[: len(place)] == place
                for header in islice(_headers(bag, camera), _FRAMES_TO_LOOK_AT)
            )
        ]
        if matching:
            return matching
    return cameras


def _headers(bag: BagReader, topic: str) -> Iterator[tuple[int, str]]:
    """Stamp in nanoseconds and frame_id of each message."""
    for message in bag.messages([topic]):
        try:
            header = typestore().deserialize_cdr(message.raw, message.msgtype).header
        except Exception as error:  # whatever a parser makes of damaged bytes
            raise ErfSegError(f"{bag.path}: a message of {topic} is damaged ({error})") from error
        yield header.stamp.sec * 1_000_000_000 + header.stamp.nanosec, header.frame_id
