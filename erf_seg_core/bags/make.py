"""Makes a rosbag2 of a frame source: camera, camera_info and, where known, truth and depth."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from ..errors import ErfSegError, refuse_undecodable
from .reader import STORAGE_SUFFIXES
from .sources import FrameSource, SourceFrame
from .writer import DISK_ERRORS, BagWriter

IMAGE_TOPIC = "/camera/image_raw"
COMPRESSED_TOPIC = "/camera/image_raw/compressed"  # image_transport's name for it
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth/image_rect"
TRUTH_TOPIC = "/ground_truth/label"
FRAME_ID = "camera_optical_frame"

START_NS = 1_000_000_000_000_000_000
"""Stamp of the first frame; not "now", so that the same source gives the same bag."""

JPEG_QUALITY = 95

SLOWEST_HZ, FASTEST_HZ = 0.001, 1000.0
"""At the slowest a million frames fit into the 32 bits that ROS has for seconds."""


@dataclass(frozen=True)
class MadeBag:
    """What was written."""

    path: str
    storage: str
    frames: int
    labelled: int
    rate_hz: float
    duration_s: float
    width: int
    height: int
    topics: dict[str, int]  # messages by topic
    interrupted: bool  # by Ctrl-C; the bag is whole but shorter


def make_bag(
    source: FrameSource,
    output: str | Path,
    *,
    rate_hz: float | None = None,
    storage: str = "sqlite3",
    compressed: bool = False,
    limit: int | None = None,
    overwrite: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> MadeBag:
    """Write the frames of `source` to a new bag `output`, stamped at exactly `rate_hz`.

    `rate_hz` None takes the source's. With `compressed`, JPEGs go to `COMPRESSED_TOPIC` instead of
    raw images; those that were JPEG files keep their bytes. `overwrite` replaces an existing bag
    (and nothing else). `on_frame` is called after each frame. Ctrl-C ends the bag early; a full
    disk raises `ErfSegError`, and the bag keeps what was written.
    """
    rate_hz = source.rate_hz if rate_hz is None else rate_hz
    if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise ErfSegError(
            f"a rate of {rate_hz:g} Hz is not possible: give one of {SLOWEST_HZ:g} to "
            f"{FASTEST_HZ:g}"
        )
    if limit is not None and limit < 1:
        raise ErfSegError(f"a limit of {limit} frames leaves nothing to write")
    frames = islice(source.frames(), limit)
    first = next(frames, None)  # a broken source must not cost the bag that it would replace
    if first is None:
        raise ErfSegError("the source has no frames")
    output = Path(output)
    refuse_undecodable(output)  # the bag names its files
    _make_room(output, overwrite)
    made = _Progress(compressed)
    interrupted = False
    bag = BagWriter(output, storage)
    try:
        with bag:
            for frame in chain([first], frames):
                made.write(bag, frame, rate_hz)
                on_frame()
    except KeyboardInterrupt:
        if not output.exists():
            raise
        interrupted = True
    except DISK_ERRORS as error:
        raise _disk_error(output, made.frames, error) from error
    topics = bag.counts  # what an interrupted write cost is not in them
    frames_kept = topics.get(made.image_topic, 0)
    height, width = first.image_bgr.shape[:2]
    return MadeBag(
        path=str(output),
        storage=storage,
        frames=frames_kept,
        labelled=topics.get(TRUTH_TOPIC, 0),
        rate_hz=rate_hz,
        duration_s=frames_kept / rate_hz,
        width=width,
        height=height,
        topics=topics,
        interrupted=interrupted,
    )


class _Progress:
    """Writes frames, each at its time."""

    def __init__(self, compressed: bool) -> None:
        self.image_topic = COMPRESSED_TOPIC if compressed else IMAGE_TOPIC
        self.frames = 0

    def write(self, bag: BagWriter, frame: SourceFrame, rate_hz: float) -> None:
        """Write one frame's messages, all with its stamp."""
        stamp_ns = START_NS + round(self.frames * 1_000_000_000 / rate_hz)
        place = (stamp_ns, FRAME_ID)
        if self.image_topic == COMPRESSED_TOPIC:
            data = frame.jpeg or _as_jpeg(frame.image_bgr)
            bag.write_compressed_image(COMPRESSED_TOPIC, *place, data, "bgr8; jpeg compressed bgr8")
        else:
            bag.write_image(IMAGE_TOPIC, *place, frame.image_bgr, "bgr8")
        bag.write_camera_info(INFO_TOPIC, *place, frame.camera)
        if frame.labels is not None:
            bag.write_image(TRUTH_TOPIC, *place, frame.labels, "mono8")
        if frame.depth_m is not None:
            bag.write_image(DEPTH_TOPIC, *place, frame.depth_m, "32FC1")
        self.frames += 1


def _as_jpeg(image: np.ndarray) -> bytes:
    ok, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ErfSegError(f"a picture of shape {image.shape} cannot be written as JPEG")
    return packed.tobytes()


def _make_room(output: Path, overwrite: bool) -> None:
    """Remove an older bag, but nothing that is not a bag's."""
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise ErfSegError(f"{output} exists already: choose another --output, or add --overwrite")
    if output.is_symlink():
        raise ErfSegError(f"{output} is a link, so it is not overwritten: name the folder itself")
    if not (output / "metadata.yaml").is_file():
        raise ErfSegError(f"{output} is no rosbag2 folder, so it is not overwritten: remove it")
    files = list(output.iterdir())
    for file in files:
        if not _is_of_a_bag(file):
            raise ErfSegError(
                f"{output} holds {file.name}, which is no part of a bag, so it is not overwritten: "
                "choose another output"
            )
    for file in files:
        file.unlink()
    output.rmdir()


def _is_of_a_bag(file: Path) -> bool:
    return file.is_file() and (file.name == "metadata.yaml" or file.suffix in STORAGE_SUFFIXES)


def _disk_error(output: Path, frames: int, error: BaseException) -> ErfSegError:
    kept = f"; {output} keeps what was written before" if output.exists() else ""
    return ErfSegError(f"the disk refused frame {frames + 1} ({error}){kept}")
