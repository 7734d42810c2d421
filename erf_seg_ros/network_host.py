"""The network that labels: exchanged and repaired while frames keep coming; knows no ROS."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from erf_seg_core.errors import EngineError, ErfSegError, in_words

from .conditions import Level, Verdict

if TYPE_CHECKING:  # its import costs seconds, which only `on_configure` is to spend
    from erf_seg_core.inference import Segmenter

RETRY_AFTER_S = (0.0, 0.5, 2.0, 5.0, 10.0)
"""Pauses before each attempt to load a network again whose engine failed. A driver that restarts
its device takes seconds; what is not back after a quarter of a minute needs a person."""

STEADY_S = 60.0
"""After so long without a failure the next one is a new story, with all attempts."""

_ON_THE_CPU = {"device": "cpu", "engine": "auto", "precision": "auto"}
"""Options of the fallback: a GPU's engine and float16 are not to be had there."""

Options = Mapping[str, Any]
"""Arguments of `load_segmenter`."""


class Logger(Protocol):
    """What rclpy's and Python's loggers have in common."""

    def info(self, message: str) -> Any:
        """Log what went well."""

    def error(self, message: str) -> Any:
        """Log what did not."""


class NetworkHost:
    """Owns the network in use.

    The labelling thread takes a `turn` for each batch and calls `recover` when the engine fails.
    Another thread may `exchange` the network: the old one labels until the new one has shown that
    it works.
    """

    def __init__(
        self,
        load: Callable[[Options], Segmenter],
        options: Options,
        logger: Logger,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
    ) -> None:
        """Load the first network; `load` returns one that has run already, or raises."""
        self._load = load
        self._logger = logger
        self._retry_after_s = retry_after_s
        self._files = _state_of_files(options)
        self._segmenter = load(options)
        self._options = dict(options)
        self._usable = True
        self._trouble = _NO_TROUBLE
        self._failures = 0
        self._attempts = 0
        self._failed_at = -math.inf
        # One lock alone would go from batch to batch and leave `exchange` waiting: who wants in
        # holds the door first.
        self._door, self._room = threading.Lock(), threading.Lock()

    @property
    def segmenter(self) -> Segmenter:
        """The network in use, for what it says about itself."""
        return self._segmenter

    @property
    def verdict(self) -> Verdict:
        """How the engine is doing; a failure that it got over stays a warning for a while."""
        trouble = self._trouble
        if trouble.passes and time.monotonic() - self._failed_at > STEADY_S:
            trouble = _NO_TROUBLE
        values = {"engine_failures": str(self._failures)}
        return Verdict(trouble.level, trouble.message, values)

    @contextmanager
    def turn(self) -> Iterator[Segmenter]:
        """Keep the network as it is for one batch, until its labels are out.

        An `EngineError` in it retires the network. Raises one itself where `recover` was
        interrupted, `ErfSegError` where it gave up.
        """
        with self._alone():
            if not self._usable:
                kind = ErfSegError if self._has_given_up() else EngineError
                raise kind(self._trouble.message)
            try:
                yield self._segmenter
            except EngineError:
                self._failures += 1
                self._usable = False
                self._free(self._segmenter)  # the next one may need its memory
                raise

    def exchange(self, options: Options, announce: Callable[[Segmenter], None]) -> None:
        """Load another network beside the one in use and put it in its place between two batches.

        `announce` is called with it in between, when no label of the old one is to come any more.
        Whatever loading raises leaves everything as it is. The network in use is not loaded again,
        unless its checkpoint or class map has changed on disk.
        """
        files = _state_of_files(options)  # before loading: what changes meanwhile counts as changed
        if self._usable and dict(options) == self._options and files == self._files:
            return
        segmenter = self._load(options)
        with self._alone():
            announce(segmenter)
            self._install(segmenter, options, _NO_TROUBLE)
            self._files = files
        self._failed_at = -math.inf

    def recover(self, error: Exception, cpu: bool, stop: threading.Event) -> None:
        """Load the network again after its engine failed with `error`, until it works.

        Ends early when `stop` is set or the attempts are used up, which `verdict` tells. With
        `cpu`, a network that does not come back at once goes on on the CPU.
        """
        if time.monotonic() - self._failed_at > STEADY_S:
            self._attempts = 0
        reason = in_words(error)
        while not self._usable and not self._has_given_up():
            self._failed_at = time.monotonic()
            options, plan = self._options, "loading it again"
            if cpu and self._attempts > 0 and self._segmenter.device != "cpu":
                options, plan = {**options, **_ON_THE_CPU}, "going to the CPU"
            pause = self._retry_after_s[self._attempts]
            self._attempts += 1
            self._tell(f"{reason}; {plan} ({self._attempts} of {len(self._retry_after_s)})")
            if stop.wait(pause):
                return
            if failure := self._try(options, in_words(error)):
                reason = failure
        if not self._usable:
            self._tell(f"{reason}; given up, set parameter device or start the node again")

    def revive(self) -> None:
        """Grant all attempts again: somebody wants the network to run."""
        self._attempts = 0

    def close(self) -> None:
        """Free the network."""
        with self._alone():
            self._free(self._segmenter)

    def _try(self, options: Options, cause: str) -> str:
        """One attempt of `recover`; returns why it failed, empty if it did not."""
        try:
            segmenter = self._load(options)
        except Exception as error:  # whatever a broken device comes up with
            return in_words(error)
        with self._alone():
            if self._usable:  # somebody exchanged it in the meantime
                self._free(segmenter)
                return ""
            passes = options is self._options
            message = f"labelling again with {segmenter.engine_name} on {segmenter.device}"
            trouble = _Trouble(Level.WARN, f"{message}, after: {cause}", passes)
            self._install(segmenter, options, trouble)
        self._failed_at = time.monotonic()
        self._logger.info(message)
        return ""

    def _install(self, segmenter: Segmenter, options: Options, trouble: _Trouble) -> None:
        """Put a network in the place of the one in use; only `_alone`."""
        self._free(self._segmenter)
        self._segmenter, self._options = segmenter, dict(options)
        self._trouble, self._usable = trouble, True

    def _free(self, segmenter: Segmenter) -> None:
        """Close a network; a device that is gone may refuse even that."""
        try:
            segmenter.close()
        except Exception as error:
            self._logger.error(f"a network could not be freed: {in_words(error)}")

    def _has_given_up(self) -> bool:
        return not self._usable and self._attempts >= len(self._retry_after_s)

    def _tell(self, message: str) -> None:
        self._trouble = _Trouble(Level.ERROR, message, passes=False)
        self._logger.error(message)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._door:
            self._room.acquire()
        try:
            yield
        finally:
            self._room.release()


def _state_of_files(options: Options) -> list[tuple[int, int] | None]:
    """Time and size of checkpoint and class map; None for a model that is no path, or no file."""
    return [_state(options.get(name)) for name in ("model", "class_map")]


def _state(path: str | None) -> tuple[int, int] | None:
    if not path:
        return None
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


@dataclass(frozen=True)
class _Trouble:
    """What `verdict` says; `passes` if time alone makes it good."""

    level: Level
    message: str
    passes: bool


_NO_TROUBLE = _Trouble(Level.OK, "", passes=False)
