"""The demo's input where the user brings none: a drive that is rendered once and then kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from erf_seg_core.bags import BagWriter
from erf_seg_core.synthetic import SyntheticDrive

from .replay.live_progress import Listener

IMAGE_TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
TRUTH_TOPIC = "/ground_truth/label"
FRAME_ID = "camera_optical_frame"
FIRST_STAMP_NS = 1_577_836_800_000_000_000  # the start of 2020: a drive has no date of its own


@dataclass(frozen=True)
class DriveOptions:
    """Which synthetic drive; `size` is (height, width) in pixels."""

    seed: int = 0
    frames: int = 150
    rate_hz: float = 15.0
    size: tuple[int, int] = (360, 480)

    @property
    def name(self) -> str:
        """Folder name that tells drives apart."""
        height, width = self.size
        return f"drive_seed{self.seed}_{width}x{height}_{self.rate_hz:g}hz_{self.frames}"


def rendered_drive(folder: Path, options: DriveOptions, listener: Listener) -> Path:
    """Return the drive's bag in `folder`, rendering it unless an earlier demo has."""
    bag = folder / options.name
    if bag.is_dir():
        return bag
    unfinished = folder / f".{options.name}"  # gets its name once it is whole
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    listener.stage("rendering a synthetic drive", options.frames)
    drive = SyntheticDrive(options.seed, options.size, options.rate_hz)
    with BagWriter(unfinished) as writer:
        for index in range(options.frames):
            frame = drive.frame(index)
            stamp_ns = FIRST_STAMP_NS + round(index * 1e9 / options.rate_hz)
            writer.write_image(IMAGE_TOPIC, stamp_ns, FRAME_ID, frame.image_bgr, "bgr8")
            writer.write_camera_info(INFO_TOPIC, stamp_ns, FRAME_ID, frame.camera)
            writer.write_image(TRUTH_TOPIC, stamp_ns, FRAME_ID, frame.labels, "mono8")
            listener.progress(index + 1)
    return unfinished.rename(bag)
