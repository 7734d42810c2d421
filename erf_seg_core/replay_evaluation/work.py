"""One bag as a piece of work for whatever process does it; the result goes to disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from ..bags.messages import typestore
from ..errors import EngineError, ErfSegError
from ..freed_memory import keep_freed_memory
from .bag_evaluation import Stopped, evaluate_bag
from .bag_task import BagTask
from .options import model_folders
from .predictors import Networks

_BEAT_S = 0.3
"""How often a worker says how far it is, and looks whether it is to stop."""


@dataclass(frozen=True)
class Work:
    """A bag to evaluate into `folder`, by a network of so many CPU threads (None: its choice)."""

    task: BagTask
    folder: Path
    fingerprint: str
    frames: int
    threads: int | None

    @property
    def progress_file(self) -> Path:
        """Where a worker writes how many frames are done; it exists while the work is on.

        Hidden, like `stop_file`: beside them are folders with the names of bags.
        """
        return self.folder.with_name(f".{self.folder.name}.progress")

    @property
    def stop_file(self) -> Path:
        """Once it exists, workers end early and keep what they have."""
        return self.folder.with_name(".stop")


@dataclass(frozen=True)
class Done:
    """A bag is done with: `failure` says why it has no result, empty if it has one.

    `interrupted`: it was ended early because somebody asked for it.
    """

    work: Work
    failure: str = ""
    interrupted: bool = False


def do_work(
    work: Work, networks: Networks, on_frame: Callable[[int], None] = lambda done: None
) -> Done:
    """Evaluate a bag and save its result. What is wrong with the bag is in the return value."""
    options = work.task.options
    keep_freed_memory()
    typestore()  # like the networks it is there before the clock of the first bag runs
    try:
        predictors = {
            name: networks.get(model, options, work.threads)
            for model, name in model_folders(options.models).items()
        }
        reference = options.reference and networks.get(options.reference, options, work.threads)
        result = evaluate_bag(work.task, predictors, reference or None, on_frame)
    except (ErfSegError, EngineError) as error:
        return Done(work, str(error))
    try:
        result.save(work.folder, work.fingerprint)
    except OSError as error:
        return Done(work, f"the disk refused the result in {work.folder} ({error}); make room")
    return Done(work, interrupted=result.interrupted)


_own = threading.local()
"""Networks of this thread: a cluster's worker may run several bags at once, a network only one."""


def do_work_remotely(work: Work) -> Done:
    """Do it in another process that shares no more than the file system with the one that asked."""
    if not hasattr(_own, "networks"):
        _own.networks = Networks()
    if work.threads is not None:
        cv2.setNumThreads(work.threads)
    try:
        return do_work(work, _own.networks, _Beat(work))
    except Stopped:  # before the first frame
        return Done(work, "it was stopped before it began", interrupted=True)
    finally:
        work.progress_file.unlink(missing_ok=True)


class _Beat:
    """Tells the progress through a file, and stops the work if a file says so."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._next = 0.0
        work.folder.parent.mkdir(parents=True, exist_ok=True)
        self(0)

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _BEAT_S
        partial = self._work.progress_file.with_suffix(f".{os.getpid()}")
        partial.write_text(str(done), encoding="ascii")
        partial.replace(self._work.progress_file)
        if self._work.stop_file.exists():
            raise Stopped
