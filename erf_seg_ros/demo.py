"""The demo's input where the user brings none: a drive that is rendered once and then kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from erf_seg_core.bags.make import make_bag
from erf_seg_core.bags.sources import SyntheticSource
from erf_seg_core.errors import make_folder
from erf_seg_core.output_lock import output_lock

from .replay.live_progress import Listener


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
    with output_lock(folder):
        if not bag.is_dir():
            _render(bag, options, listener)
    return bag


def _render(bag: Path, options: DriveOptions, listener: Listener) -> None:
    unfinished = bag.parent / ".rendering" / bag.name  # moves up once it is whole
    shutil.rmtree(unfinished.parent, ignore_errors=True)
    make_folder(unfinished.parent)
    listener.stage("rendering a synthetic drive", options.frames)
    done = count(1)
    source = SyntheticSource(options.frames, options.seed, options.size, options.rate_hz)
    made = make_bag(source, unfinished, on_frame=lambda: listener.progress(next(done)))
    if made.interrupted:
        raise KeyboardInterrupt  # a drive of this name must have all its frames
    unfinished.rename(bag)
    unfinished.parent.rmdir()
