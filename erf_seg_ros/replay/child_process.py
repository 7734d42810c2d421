"""A process of ours that reports events, and that never outlives us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

from .events import LAST_RESORT_S, read_events

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOG_LINES_SHOWN = 8
_LIBC = ctypes.CDLL(None)  # looked up here: between fork and exec as little as possible may happen


class ChildProcess:
    """`python -m module arguments…`; its events go to a queue.

    It runs in a session of its own, so that a Ctrl-C in the terminal reaches us alone and we end
    the processes in the order that loses nothing. Start it from the main thread: the kernel takes
    the end of the starting thread for the end of its parent.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        events: Queue[dict[str, Any]],
        keep_open: tuple[int, ...] = (),
    ) -> None:
        """Start it with our file descriptors `keep_open`; its stderr goes to the file `log`."""
        self.name = name
        self._log_path = log
        self._events = events
        with log.open("w", encoding="utf-8") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **environment, "PYTHONPATH": _python_path()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                start_new_session=True,
                pass_fds=keep_open,
                preexec_fn=_die_with_parent,
            )
        self._reader = threading.Thread(target=self._forward_events, name=f"{name} events")
        self._reader.start()

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.exit_status is None:
            self._process.send_signal(number)

    def stop(self, timeout_s: float = LAST_RESORT_S + 5.0) -> None:
        """Ask it to end, wait, and kill what is left of it after `timeout_s`.

        Longer than it gives itself: one that is stuck says where before it is killed.
        """
        self.signal(signal.SIGINT)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        finally:  # also after a second Ctrl-C
            self.kill()
            self._reader.join()

    def kill(self) -> None:
        """End it and whatever it started, now."""
        if self.exit_status is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self) -> str:
        """Last lines of its log, for an error message."""
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])

    def _forward_events(self) -> None:
        with self._process.stdout as lines:
            for event in read_events(lines):
                self._events.put(event)


def _python_path() -> str:
    """Have the child import the erf_seg_ros that this is, wherever it was started."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))


def _die_with_parent() -> None:
    """In the new process: have the kernel end it if we die without a chance to."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
