"""Ctrl-C and SIGTERM as a flag that the main loop looks at; knows no ROS."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """Whether the process was asked to end.

    An exception out of nowhere, as Python raises for Ctrl-C, would leave rclpy with handles that
    are never released, and the network with a node that never says goodbye. So nothing is
    raised, except inside `interruptible`, which is for long work that stands this.
    """

    def __init__(self) -> None:
        """Not asked yet; `install` starts to listen."""
        self.raised = False
        self._interruptible = False

    def install(self) -> None:
        """Listen to SIGINT and SIGTERM; only from the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise `KeyboardInterrupt` in this block when the process is, or was, asked to end."""
        self._interruptible = True
        try:
            if self.raised:
                raise KeyboardInterrupt
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
        if self._interruptible:
            self._interruptible = False  # a second signal must not hit the first one's cleanup
            raise KeyboardInterrupt
